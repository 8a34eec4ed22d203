/* C99. No allocation, no recursion, no floating point, no shift of a negative number. */
#include "student_kernels.h"

#include <stddef.h>
#include <string.h>

/* value / divisor to the nearest, halves away from zero. |value| < 2^62, divisor even, < 2^62. */
static int64_t divide(int64_t value, int64_t divisor)
{
    const int64_t half = divisor / 2;
    return value < 0 ? -((half - value) / divisor) : (value + half) / divisor;
}

/* value / 2^shift to the nearest, halves away from zero. |value| < 2^62, 1 <= shift <= 62. */
static int64_t shift_right(int64_t value, int shift)
{
    const int64_t half = (int64_t)1 << (shift - 1);
    return value < 0 ? -((half - value) >> shift) : (value + half) >> shift;
}

static int8_t clip(int64_t value)
{
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}

static int8_t requantise(int32_t sum, int32_t multiplier, int shift, int32_t zero_point)
{
    return clip(shift_right((int64_t)sum * multiplier, shift) + zero_point);
}

/* One window of `channels` channels from `first` on, in the order of the weights. */
static void gather(const student_convolution *layer, const int8_t *in, int32_t y, int32_t x,
                   int32_t first, int32_t channels, int8_t *window)
{
    for (int32_t ky = 0; ky < layer->kernel_height; ky++) {
        const int32_t row = y * layer->stride_y - layer->padding_y + ky * layer->dilation_y;
        for (int32_t kx = 0; kx < layer->kernel_width; kx++) {
            const int32_t column = x * layer->stride_x - layer->padding_x + kx * layer->dilation_x;
            const int inside =
                row >= 0 && row < layer->in_height && column >= 0 && column < layer->in_width;
            const int8_t *pixel =
                inside ? in + (row * layer->in_width + column) * layer->in_channels : layer->border;
            memcpy(window, pixel + first, (size_t)channels);
            window += channels;
        }
    }
}

/* The sums of four output channels, whose weights follow each other: each input is read once. */
static void dot4(const int8_t *window, const int8_t *weight, int32_t length, int32_t sums[4])
{
    const int8_t *w0 = weight, *w1 = w0 + length, *w2 = w1 + length, *w3 = w2 + length;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (int32_t i = 0; i < length; i++) {
        const int32_t value = window[i];
        s0 += value * w0[i];
        s1 += value * w1[i];
        s2 += value * w2[i];
        s3 += value * w3[i];
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

static int32_t dot(const int8_t *window, const int8_t *weight, int32_t length, int32_t sum)
{
    for (int32_t i = 0; i < length; i++)
        sum += (int32_t)window[i] * weight[i];
    return sum;
}

/* Output channels [first, end) of one pixel, all of one group. */
static void convolve_group(const student_convolution *layer, const int8_t *window, int32_t length,
                           int32_t first, int32_t end, int8_t *out)
{
    int32_t o = first;
    for (; o + 4 <= end; o += 4) {
        int32_t sums[4];
        memcpy(sums, layer->bias + o, sizeof sums);
        dot4(window, layer->weight + o * length, length, sums);
        for (int32_t i = 0; i < 4; i++)
            out[o + i] = requantise(sums[i], layer->multiplier[o + i], layer->shift[o + i],
                                    layer->zero_point);
    }
    for (; o < end; o++)
        out[o] = requantise(dot(window, layer->weight + o * length, length, layer->bias[o]),
                            layer->multiplier[o], layer->shift[o], layer->zero_point);
}

/* All output channels of one pixel, where each group has one input channel. */
static void convolve_depthwise(const student_convolution *layer, const int8_t *window, int8_t *out)
{
    const int32_t taps = layer->kernel_height * layer->kernel_width;
    const int32_t each = layer->out_channels / layer->groups;
    for (int32_t o = 0; o < layer->out_channels; o++) {
        const int8_t *value = window + o / each;
        const int8_t *weight = layer->weight + o;
        int32_t sum = layer->bias[o];
        for (int32_t i = 0; i < taps; i++) {
            sum += (int32_t)*value * *weight;
            value += layer->in_channels;
            weight += layer->out_channels;
        }
        out[o] = requantise(sum, layer->multiplier[o], layer->shift[o], layer->zero_point);
    }
}

void student_convolve(const student_convolution *layer, const int8_t *in, int8_t *scratch,
                      int8_t *out)
{
    const int32_t channels = layer->in_channels / layer->groups;
    const int32_t outputs = layer->out_channels / layer->groups;
    const int32_t length = layer->kernel_height * layer->kernel_width * channels;
    const int depthwise = layer->groups > 1 && channels == 1;
    const int direct = layer->kernel_height == 1 && layer->kernel_width == 1 &&
                       layer->padding_y == 0 && layer->padding_x == 0;
    for (int32_t y = 0; y < layer->out_height; y++) {
        for (int32_t x = 0; x < layer->out_width; x++) {
            const int8_t *pixel = in;
            if (direct)
                pixel += (y * layer->stride_y * layer->in_width + x * layer->stride_x) *
                         layer->in_channels;
            if (depthwise) {
                if (!direct)
                    gather(layer, in, y, x, 0, layer->in_channels, scratch);
                convolve_depthwise(layer, direct ? pixel : scratch, out);
            } else {
                for (int32_t g = 0; g < layer->groups; g++) {
                    if (!direct)
                        gather(layer, in, y, x, g * channels, channels, scratch);
                    convolve_group(layer, direct ? pixel + g * channels : scratch, length,
                                   g * outputs, (g + 1) * outputs, out);
                }
            }
            out += layer->out_channels;
        }
    }
}

void student_linear_wide(const student_convolution *layer, const int8_t *in, int32_t *out)
{
    for (int32_t o = 0; o < layer->out_channels; o++) {
        const int32_t sum =
            dot(in, layer->weight + o * layer->in_channels, layer->in_channels, layer->bias[o]);
        const int64_t value = shift_right((int64_t)sum * layer->multiplier[o], layer->shift[o]);
        out[o] = (int32_t)(value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX : value);
    }
}

typedef struct {
    int32_t top, bottom, left, right;
} student_window;

/* The part of a window that lies on the map: rows [top, bottom), columns [left, right). */
static student_window window_at(const student_pooling *layer, int32_t y, int32_t x)
{
    student_window window;
    window.top = y * layer->stride_y - layer->padding_y;
    window.left = x * layer->stride_x - layer->padding_x;
    window.bottom = window.top + layer->kernel_height;
    window.right = window.left + layer->kernel_width;
    if (window.top < 0)
        window.top = 0;
    if (window.left < 0)
        window.left = 0;
    if (window.bottom > layer->in_height)
        window.bottom = layer->in_height;
    if (window.right > layer->in_width)
        window.right = layer->in_width;
    return window;
}

void student_max_pool(const student_pooling *layer, const int8_t *in, int8_t *out)
{
    for (int32_t y = 0; y < layer->out_height; y++) {
        for (int32_t x = 0; x < layer->out_width; x++) {
            const student_window window = window_at(layer, y, x);
            memset(out, -128, (size_t)layer->channels);
            for (int32_t row = window.top; row < window.bottom; row++) {
                for (int32_t column = window.left; column < window.right; column++) {
                    const int8_t *pixel =
                        in + (row * layer->in_width + column) * layer->channels;
                    for (int32_t c = 0; c < layer->channels; c++)
                        if (pixel[c] > out[c])
                            out[c] = pixel[c];
                }
            }
            out += layer->channels;
        }
    }
}

void student_mean_pool(const student_pooling *layer, const int8_t *in, int8_t *out)
{
    for (int32_t y = 0; y < layer->out_height; y++) {
        for (int32_t x = 0; x < layer->out_width; x++) {
            const student_window window = window_at(layer, y, x);
            const int32_t count =
                layer->counts_padding
                    ? layer->kernel_height * layer->kernel_width
                    : (window.bottom - window.top) * (window.right - window.left);
            const int64_t divisor = (int64_t)count * ((int64_t)1 << layer->shift);
            for (int32_t c = 0; c < layer->channels; c++) {
                int32_t sum = 0;
                for (int32_t row = window.top; row < window.bottom; row++)
                    for (int32_t column = window.left; column < window.right; column++)
                        sum += in[(row * layer->in_width + column) * layer->channels + c] -
                               layer->in_zero_point;
                *out++ = clip(divide((int64_t)sum * layer->multiplier, divisor) +
                              layer->zero_point);
            }
        }
    }
}

void student_add(const student_pair *layer, const int8_t *left, const int8_t *right, int8_t *out)
{
    const int32_t count = layer->pixels * layer->channels;
    for (int32_t i = 0; i < count; i++) {
        const int32_t sum = (left[i] - layer->left_zero_point) * layer->left_multiplier +
                            (right[i] - layer->right_zero_point) * layer->right_multiplier;
        out[i] = clip(shift_right(sum, layer->shift) + layer->zero_point);
    }
}

void student_multiply(const student_pair *layer, const int8_t *left, const int8_t *right,
                      int8_t *out)
{
    for (int32_t pixel = 0; pixel < layer->pixels; pixel++) {
        const int8_t *factor = layer->right_pixels == 1 ? right : right + pixel * layer->channels;
        for (int32_t c = 0; c < layer->channels; c++) {
            const int32_t product =
                (left[c] - layer->left_zero_point) * (factor[c] - layer->right_zero_point);
            out[c] = requantise(product, layer->left_multiplier, layer->shift, layer->zero_point);
        }
        left += layer->channels;
        out += layer->channels;
    }
}

void student_lookup(const int8_t *table, int32_t count, const int8_t *in, int8_t *out)
{
    for (int32_t i = 0; i < count; i++)
        out[i] = table[in[i] + 128];
}

void student_centre(int32_t count, const uint8_t *in, int8_t *out)
{
    for (int32_t i = 0; i < count; i++)
        out[i] = (int8_t)(in[i] - 128);
}

void student_lookup_image(const int8_t *table, int32_t pixels, int32_t channels, const uint8_t *in,
                          int8_t *out)
{
    for (int32_t pixel = 0; pixel < pixels; pixel++)
        for (int32_t c = 0; c < channels; c++)
            *out++ = table[c * 256 + *in++];
}

void student_widen(int32_t zero_point, int32_t count, const int8_t *in, int32_t *out)
{
    for (int32_t i = 0; i < count; i++)
        out[i] = in[i] - zero_point;
}
