/* From reset to main on a Cortex-M: memory, stack, timer. */
#include <stdint.h>

#include "semihosting.h"

#define PAINT 0xc5c5c5c5u
#define PAINTED 4096u /* words below the top of the stack */
#define SYSTICK_CONTROL (*(volatile uint32_t *)0xe000e010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xe000e014)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xe000e018)
#define SYSTICK_LARGEST 0xffffffu

extern uint32_t data_source[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];
int main(void);
void reset(void);
uint64_t board_ticks(void);
uint32_t board_stack_bytes(void);

static volatile uint32_t rounds;

static void stop(void)
{
    host_print("fault\n");
    host_exit(1);
}

static void count_round(void)
{
    rounds++;
}

/* Ticks of the processor's clock (25 MHz) since the start. */
uint64_t board_ticks(void)
{
    uint32_t before, value;
    do {
        before = rounds;
        value = SYSTICK_VALUE;
    } while (before != rounds);
    /* It counts from 0 over the largest value down to 0 again, where the interrupt comes. */
    return (uint64_t)before * (SYSTICK_LARGEST + 1u) + ((0u - value) & SYSTICK_LARGEST);
}

/* The most bytes of stack that were in use so far, up to 16 kB. */
uint32_t board_stack_bytes(void)
{
    const uint32_t *word = stack_top - PAINTED;
    while (word < stack_top && *word == PAINT)
        word++;
    return (uint32_t)(stack_top - word) * 4u;
}

void reset(void)
{
    /* volatile: the compiler must not turn the loops into calls that use the stack. */
    volatile uint32_t *to = data_start;
    for (const uint32_t *from = data_source; to < data_end; from++)
        *to++ = *from;
    for (to = bss_start; to < bss_end; to++)
        *to = 0;
    const uint32_t *const here = __builtin_frame_address(0);
    for (to = stack_top - PAINTED; to < here - 16; to++)
        *to = PAINT;
    SYSTICK_RELOAD = SYSTICK_LARGEST;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7; /* processor clock, interrupt, on */
    host_exit((uint32_t)main());
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const struct {
    const uint32_t *stack;
    vector handlers[15];
} vectors = {
    stack_top,
    {reset, stop, stop, stop, stop, stop, 0, 0, 0, 0, stop, stop, 0, stop, count_round},
};
