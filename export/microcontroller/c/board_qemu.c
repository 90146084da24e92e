/* Cortex-M under qemu-system-arm: start-up code, text through semihosting, instructions counted by a timer.
   QEMU runs with -icount shift=7: each instruction takes exactly 128 ns of the board's time, so a timer of the board,
   more than twice as fast, counts them exactly. These are instructions, not cycles. */
#include "board.h"

#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'

#if defined(__ARM_FEATURE_MVE)
#define FPGAIO 0x59302000u /* mps3-an547, secure */
#elif defined(__ARM_FEATURE_CMSE)
#define FPGAIO 0x50302000u /* mps2-an505, secure */
#else
#define FPGAIO 0x40028000u /* mps2-an385, mps2-an386, mps2-an500 */
#endif
#define COUNTER (*(volatile uint32_t *)(FPGAIO + 0x18u))
#define PRESCALE (*(volatile uint32_t *)(FPGAIO + 0x1cu))
#define NS_PER_INSTRUCTION 128u
#define CALIBRATION 100000u
#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SYS_WRITE0 0x04
#define SYS_EXIT_EXTENDED 0x20
#define STOPPED_BY_APPLICATION 0x20026u
#define PAINT 0xA5C3E1F0u

#ifdef __cplusplus
extern "C" {
#endif
extern uint32_t _stack_top, _data_source, _data_start, _data_end, _bss_start, _bss_end;
extern int program(void) __asm("main"); /* by another name: C++ does not let main be called */
void reset_handler(void);
#ifdef __cplusplus
}
#endif

static void semihosting(int operation, const void *argument) {
    __asm volatile("mov r0, %0\n mov r1, %1\n bkpt 0xab" : : "r"(operation), "r"(argument) : "r0", "r1", "memory");
}

void board_print(const char *text) { semihosting(SYS_WRITE0, text); }
uint32_t board_counter(void) { return COUNTER; }

/* The timer's MHz, which boards and versions of QEMU differ in: a loop of a known number of instructions tells. */
static uint32_t counter_mhz;

static void calibrate(void) {
    uint32_t before = board_counter(), rounds = CALIBRATION;
    __asm volatile(".syntax unified\n1: subs %0, #1\n bne 1b" : "+l"(rounds) : : "cc");
    uint32_t nanoseconds = 2u * CALIBRATION * NS_PER_INSTRUCTION;
    counter_mhz = ((board_counter() - before) * 1000u + nanoseconds / 2u) / nanoseconds;
}

/* In 32 bits, so that no division of 64 bits adds to the program: 1000 / 128 is 125 / 16. */
uint32_t board_between(uint32_t before, uint32_t after) {
    uint32_t ticks = after - before, scale = counter_mhz * (NS_PER_INSTRUCTION / 8u);
    return scale ? ticks / scale * 125u + (ticks % scale * 125u + scale / 2u) / scale : 0u;
}

static uint32_t *lowest_painted(void) { return &_bss_end; }

void board_paint_stack(void) {
    uint32_t *here = (uint32_t *)__builtin_frame_address(0) - 16;
    for (volatile uint32_t *word = lowest_painted(); word < here; ++word) {
        *word = PAINT;
    }
}

uint32_t board_stack(void) {
    const volatile uint32_t *word = lowest_painted();
    while (word < &_stack_top && *word == PAINT) {
        ++word;
    }
    return (uint32_t)((const volatile uint8_t *)&_stack_top - (const volatile uint8_t *)word);
}

static void leave(uint32_t code) {
    const uint32_t block[2] = {STOPPED_BY_APPLICATION, code};
    semihosting(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

void reset_handler(void) {
    const uint32_t *from = &_data_source;
    for (uint32_t *to = &_data_start; to < &_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &_bss_start; to < &_bss_end;) {
        *to++ = 0;
    }
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    CPACR |= 0xFu << 20; /* floating point and vector instructions on */
    __asm volatile("dsb\nisb");
#endif
    PRESCALE = 0;
    calibrate();
    leave((uint32_t)program());
}

static void fault(void) {
    board_print("fault\n");
    leave(99);
}

typedef void (*handler)(void);
typedef struct {
    uint32_t *stack;
    handler handlers[15];
} vector_table;

#ifdef __cplusplus
extern "C" const vector_table vectors;
#endif
__attribute__((section(".vectors"), used)) const vector_table vectors = {
    &_stack_top,
    {reset_handler, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault},
};

#endif
