/* Classifies the raw images in images.bin and writes logits.txt, as example_main.c does on a
 * computer: both files lie where the debugger or emulator was started. */
#include <stdint.h>
#include <string.h>

#include "semihosting.h"
#include "student.h"

#define NANOSECONDS_PER_TICK 40u /* of the 25 MHz timer; an instruction takes one */

uint64_t board_ticks(void);
uint32_t board_stack_bytes(void);

static char text[24];

/* Decimal digits of a number, at the end of `text`. */
static const char *digits(uint64_t value, int negative)
{
    char *next = text + sizeof text - 1;
    *next = '\0';
    do {
        *--next = (char)('0' + value % 10u);
        value /= 10u;
    } while (value > 0u);
    if (negative)
        *--next = '-';
    return next;
}

static void write_text(int file, const char *string)
{
    host_write(file, string, strlen(string));
}

static void write_number(int file, int32_t value)
{
    const int64_t wide = value;
    write_text(file, digits((uint64_t)(wide < 0 ? -wide : wide), wide < 0));
}

static void print_number(const char *label, uint64_t value)
{
    host_print(label);
    host_print(digits(value, 0));
    host_print("\n");
}

int main(void)
{
    static uint8_t image[STUDENT_IMAGE_BYTES];
    static int32_t logits[STUDENT_CLASSES];
    const int images = host_open("images.bin", OPEN_READ);
    const int results = host_open("logits.txt", OPEN_WRITE);
    uint64_t ticks = 0;
    uint32_t count = 0;
    if (images == -1 || results == -1) {
        host_print("images.bin or logits.txt cannot be opened\n");
        return 1;
    }
    while (host_read(images, image, sizeof image) == 0) {
        const uint64_t start = board_ticks();
        const int best = student_classify(image, logits);
        ticks += board_ticks() - start;
        count++;
        write_number(results, best);
        for (int i = 0; i < STUDENT_CLASSES; i++) {
            write_text(results, " ");
            write_number(results, logits[i]);
        }
        write_text(results, " ");
        write_text(results, student_class_names[best]);
        write_text(results, "\n");
    }
    host_close(results);
    print_number("images: ", count);
    print_number("stack bytes: ", board_stack_bytes());
    if (count > 0)
        print_number("instructions per image: ", ticks * NANOSECONDS_PER_TICK / count);
    return 0;
}
