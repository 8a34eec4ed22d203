/* Reads raw images from the standard input, one after the other, and prints for each one line: its
 * class, the logits as integers, and the name of the class. An image is uint8
 * [STUDENT_HEIGHT][STUDENT_WIDTH][STUDENT_CHANNELS], red, green, blue. */
#include <inttypes.h>
#include <stdio.h>

#include "student.h"

int main(void)
{
    static uint8_t image[STUDENT_IMAGE_BYTES];
    static int32_t logits[STUDENT_CLASSES];
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {
        const int best = student_classify(image, logits);
        printf("%d", best);
        for (int i = 0; i < STUDENT_CLASSES; i++)
            printf(" %" PRId32, logits[i]);
        printf(" %s\n", student_class_names[best]);
    }
    return ferror(stdin) ? 1 : 0;
}
