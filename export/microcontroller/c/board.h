/* What main.c asks of the place it runs on: board_host.c or board_qemu.c. Write your own for real hardware, a
   board_NAME.c beside this file (an export leaves it where it is) and build with make BOARD=board_NAME.c */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
void board_print(const char *text);
/* A counter that grows while instructions run; 0 where there is none. board_between turns two readings into
   instructions. */
uint32_t board_counter(void);
uint32_t board_between(uint32_t before, uint32_t after);
/* Fills the free stack with a pattern; board_stack tells how many bytes of it were used since, 0 if unknown. */
void board_paint_stack(void);
uint32_t board_stack(void);
#ifdef __cplusplus
}
#endif

#endif
