/* Layers in 8-bit integers. A map is int8 [height][width][channels]; a vector is a map of one
 * pixel. A value is scale * (q - zero_point). All shapes are known at compile time and trusted. */
#ifndef STUDENT_KERNELS_H
#define STUDENT_KERNELS_H

#include <stdint.h>

/* A convolution, or a linear layer as one of a single pixel.
 * weight: [out_channels][kernel_height][kernel_width][in_channels / groups], but
 *         [kernel_height][kernel_width][out_channels] where each group has one input channel.
 * bias: [out_channels], with the zero point of the input in it.
 * multiplier, shift: [out_channels], output = accumulator * multiplier / 2^shift + zero_point.
 * border: [in_channels], the value of pixels outside of the map. */
typedef struct {
    int32_t in_height, in_width, in_channels;
    int32_t out_height, out_width, out_channels;
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
    int32_t groups;
    int32_t zero_point;
    const int8_t *weight;
    const int32_t *bias;
    const int32_t *multiplier;
    const uint8_t *shift;
    const int8_t *border;
} student_convolution;

/* A maximum or a mean of windows. A mean is multiplied by multiplier / 2^shift. */
typedef struct {
    int32_t in_height, in_width, channels;
    int32_t out_height, out_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x, padding_y, padding_x;
    int32_t counts_padding;
    int32_t in_zero_point, zero_point;
    int32_t multiplier;
    int32_t shift;
} student_pooling;

/* Two maps of `pixels` x `channels` values. The second factor of a product may have one pixel. */
typedef struct {
    int32_t pixels, channels;
    int32_t right_pixels;
    int32_t left_zero_point, right_zero_point, zero_point;
    int32_t left_multiplier, right_multiplier;
    int32_t shift;
} student_pair;

/* `scratch` holds one window: kernel_height * kernel_width * in_channels / groups bytes, or those
 * of all groups where each has one input channel; unused (and may be NULL) for 1x1 kernels without
 * padding. */
void student_convolve(const student_convolution *layer, const int8_t *in, int8_t *scratch,
                      int8_t *out);
/* The last layer: 32 bits, not clipped to 8. Of a map of one pixel. */
void student_linear_wide(const student_convolution *layer, const int8_t *in, int32_t *out);
void student_max_pool(const student_pooling *layer, const int8_t *in, int8_t *out);
void student_mean_pool(const student_pooling *layer, const int8_t *in, int8_t *out);
void student_add(const student_pair *layer, const int8_t *left, const int8_t *right, int8_t *out);
void student_multiply(const student_pair *layer, const int8_t *left, const int8_t *right,
                      int8_t *out);
/* out[i] = table[in[i] + 128] */
void student_lookup(const int8_t *table, int32_t count, const int8_t *in, int8_t *out);
/* out[i] = in[i] - 128 */
void student_centre(int32_t count, const uint8_t *in, int8_t *out);
/* out[i][c] = table[c][in[i][c]] */
void student_lookup_image(const int8_t *table, int32_t pixels, int32_t channels, const uint8_t *in,
                          int8_t *out);
/* out[i] = in[i] - zero_point */
void student_widen(int32_t zero_point, int32_t count, const int8_t *in, int32_t *out);

#endif
