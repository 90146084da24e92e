#include "profile.h"

#if defined(PROFILE)
uint32_t profile_marks[PROFILE_MOST];
uint32_t profile_count;

__attribute__((noinline)) void profile_mark(void) {
    if (profile_count < PROFILE_MOST) {
        profile_marks[profile_count++] = board_counter();
    }
}

void profile_start(void) {
    profile_count = 0;
    profile_mark();
    profile_mark(); /* the two show what a mark itself takes */
}

void profile_print(void (*print_number)(const char *name, int32_t value)) {
    uint32_t itself = board_between(profile_marks[0], profile_marks[1]);
    for (uint32_t index = 2; index < profile_count; ++index) {
        print_number("operator",
                     (int32_t)(board_between(profile_marks[index - 1], profile_marks[index]) - itself));
    }
}
#endif
