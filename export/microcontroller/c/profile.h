/* Built with -DPROFILE, every operator of the model is counted apart: "operator" lines, in the order they run. */
#ifndef PROFILE_H
#define PROFILE_H

#include "board.h"

#if defined(PROFILE)
#define PROFILE_MOST 8192u
#ifdef __cplusplus
extern "C" {
#endif
extern uint32_t profile_marks[PROFILE_MOST];
extern uint32_t profile_count;
/* Inlined nowhere, so that each mark takes the same instructions. */
void profile_mark(void);
void profile_start(void);
void profile_print(void (*print_number)(const char *name, int32_t value));
#ifdef __cplusplus
}
#endif
#define PROFILE_START() profile_start()
#define PROFILE_PRINT(print_number) profile_print(print_number)
#else
#define PROFILE_START() ((void)0)
#define PROFILE_PRINT(print_number) ((void)0)
#endif

#endif
