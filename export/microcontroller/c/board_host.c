/* Your own computer: no instruction counter, no stack limit. */
#include "board.h"
#if !defined(__ARM_ARCH_PROFILE) || __ARM_ARCH_PROFILE != 'M'
#include <stdio.h>

void board_print(const char *text) { fputs(text, stdout); }
uint32_t board_counter(void) { return 0; }
uint32_t board_between(uint32_t before, uint32_t after) { return after - before; }
void board_paint_stack(void) {}
uint32_t board_stack(void) { return 0; }
#endif
