/* A depthwise convolution with a square kernel of up to 7x7, one channel after the other.

   A ring of as many rows as the kernel has keeps what is still to be read of the channel, so that outputs may be
   written over the inputs: they lie before all inputs that were not read yet. Beside the map it needs a few rows of
   one channel. The bytes are those of TensorFlow Lite Micro. */
#include "bknn_model.h"
#include "bknn_model_depthwise.h"

#include <stddef.h>
#include <string.h>

#define LARGEST 7 /* side of a kernel */

#if OFA_CMSIS_NN && defined(__ARM_FEATURE_MVE)
#define WITH_VECTORS 1
#include <arm_mve.h>
#elif OFA_CMSIS_NN && defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32)
#define WITH_PAIRS 1
#include <arm_acle.h>
#endif

#if defined(__GNUC__)
#define INLINED static inline __attribute__((always_inline))
#else
#define INLINED static inline
#endif

/* What becomes of the sums of a channel; its outputs lie `step` bytes apart. */
typedef struct {
    int32_t bias, multiplier, left, right, zero_point, least, most, step;
} channel_facts;

#if defined(WITH_VECTORS)
#define BLOCK 4 /* outputs that are computed at once */
#define ROW_WEIGHTS LARGEST
typedef int8_t ring_value;
typedef int8_t row_weight;

INLINED void store(int8_t *output, int32x4_t sums, const channel_facts *channel, int32_t count) {
    sums = vqrdmulhq_n_s32(vshlq_s32(sums, vdupq_n_s32(channel->left)), channel->multiplier);
    if (channel->right) { /* halves go away from zero */
        int32x4_t right = vdupq_n_s32(-channel->right);
        sums = vrshlq_s32(vqaddq_s32(sums, vshrq_n_s32(vandq_s32(sums, right), 31)), right);
    }
    sums = vaddq_n_s32(sums, channel->zero_point);
    sums = vminq_s32(vmaxq_s32(sums, vdupq_n_s32(channel->least)), vdupq_n_s32(channel->most));
    uint32x4_t places = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)channel->step);
    vstrbq_scatter_offset_p_s32(output, places, sums, vctp32q((uint32_t)count));
}

INLINED int32x4_t four(const int8_t *values, int32_t stride) {
    return stride == 1 ? vldrbq_s32(values) : vldrbq_gather_offset_s32(values, vidupq_n_u32(0, 2));
}

INLINED void row_of_outputs(
    const int8_t *const *rows, const int8_t *weights, int32_t count, int32_t kernel, int32_t stride,
    const channel_facts *channel, int8_t *output, int32_t width) {
    for (int32_t x = 0; x < width;) {
        int32x4_t sums = vdupq_n_s32(channel->bias), more = sums;
        if (width - x > BLOCK) { /* two blocks, which share the weights */
            for (int32_t row = 0; row < count; ++row) {
                const int8_t *values = rows[row] + x * stride, *weight = weights + row * ROW_WEIGHTS;
                for (int32_t column = 0; column < kernel; ++column, ++values, ++weight) {
                    sums = vmlaq_n_s32(sums, four(values, stride), *weight);
                    more = vmlaq_n_s32(more, four(values + BLOCK * stride, stride), *weight);
                }
            }
            store(output, sums, channel, BLOCK);
            output += BLOCK * channel->step;
            x += BLOCK;
            sums = more;
        } else {
            for (int32_t row = 0; row < count; ++row) {
                const int8_t *values = rows[row] + x * stride, *weight = weights + row * ROW_WEIGHTS;
                for (int32_t column = 0; column < kernel; ++column, ++values, ++weight) {
                    sums = vmlaq_n_s32(sums, four(values, stride), *weight);
                }
            }
        }
        store(output, sums, channel, width - x);
        output += BLOCK * channel->step;
        x += BLOCK;
    }
}

INLINED void load_row(int8_t *to, const int8_t *from, int32_t count, int32_t step, int32_t zero_point) {
    (void)zero_point;
    uint16x8_t places = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)step);
    for (; count > 0; count -= 8, from += 8 * step, to += 8) {
        mve_pred16_t live = vctp16q((uint32_t)count);
        vstrbq_p_s16(to, vldrbq_gather_offset_z_s16(from, places, live), live);
    }
}

/* The ring has the map's own bytes, so the zero point is in the bias: this much for each row that is read. */
INLINED int32_t pack_row(int8_t *to, const int8_t *from, int32_t kernel, int32_t stride, int32_t step) {
    int32_t sum = 0;
    (void)stride;
    for (int32_t column = 0; column < kernel; ++column, from += step) {
        sum += to[column] = *from;
    }
    return sum;
}
#else
#define BLOCK 2
#define ROW_WEIGHTS (LARGEST + 1)
typedef int16_t ring_value;

INLINED int8_t stored(int32_t sum, const channel_facts *channel) {
    int64_t product = (int64_t)(int32_t)((uint32_t)sum << channel->left) * channel->multiplier;
    int32_t value = (int32_t)((product + (INT64_C(1) << 30)) >> 31);
    if (channel->right) { /* halves go away from zero */
        value = (value + (value < 0 ? -1 : 0) + (int32_t)(1u << (channel->right - 1))) >> channel->right;
    }
    value += channel->zero_point;
    value = value < channel->least ? channel->least : value;
    return (int8_t)(value > channel->most ? channel->most : value);
}

INLINED void load_row(int16_t *to, const int8_t *from, int32_t count, int32_t step, int32_t zero_point) {
    for (; count > 1; count -= 2, from += 2 * step, to += 2) {
        to[0] = (int16_t)(from[0] - zero_point);
        to[1] = (int16_t)(from[step] - zero_point);
    }
    if (count) {
        *to = (int16_t)(*from - zero_point);
    }
}

#if defined(WITH_PAIRS)
/* Products are computed two at a time. For two neighbours at stride 1 a row of weights is there twice, the second
   time moved by one: w0w1 0w0 w2w3 w1w2 ... */
typedef int32_t row_weight;

INLINED int32_t two(const int16_t *values) {
    int32_t both;
    memcpy(&both, values, sizeof both);
    return both;
}

INLINED void row_of_outputs(
    const int16_t *const *rows, const int32_t *weights, int32_t count, int32_t kernel, int32_t stride,
    const channel_facts *channel, int8_t *output, int32_t width) {
    for (int32_t x = 0; x < width; x += 2) {
        int32_t first = channel->bias, second = first;
        for (int32_t row = 0; row < count; ++row) {
            const int16_t *values = rows[row] + x * stride;
            const int32_t *weight = weights + row * ROW_WEIGHTS;
            int32_t pair = two(values), next;
#define PAIR(number)                                               \
    if (kernel >= 2 * (number)) {                                  \
        if (stride == 1) {                                         \
            first = __smlad(pair, weight[2 * (number)], first);    \
            second = __smlad(pair, weight[2 * (number) + 1], second); \
            if (kernel >= 2 * (number) + 2) {                      \
                pair = two(values + 2 * (number) + 2);             \
            }                                                      \
        } else {                                                   \
            next = two(values + 2 * (number) + 2);                 \
            first = __smlad(pair, weight[2 * (number)], first);    \
            second = __smlad(next, weight[2 * (number)], second);  \
            pair = next;                                           \
        }                                                          \
    }
            PAIR(0)
            PAIR(1)
            PAIR(2)
            PAIR(3)
#undef PAIR
            (void)next;
        }
        *output = stored(first, channel);
        output += channel->step;
        if (x + 1 < width) {
            *output = stored(second, channel);
            output += channel->step;
        }
    }
}

INLINED int32_t pack_row(int32_t *to, const int8_t *from, int32_t kernel, int32_t stride, int32_t step) {
    int32_t before = 0;
    (void)stride;
    for (int32_t column = 0; column < kernel; column += 2, to += 2, from += 2 * step) {
        int32_t even = from[0], odd = column + 1 < kernel ? from[step] : 0;
        to[0] = (int32_t)(((uint32_t)odd << 16) | (uint16_t)even);
        to[1] = (int32_t)(((uint32_t)even << 16) | (uint16_t)before);
        before = odd;
    }
    return 0;
}
#else
typedef int16_t row_weight;

INLINED void row_of_outputs(
    const int16_t *const *rows, const int16_t *weights, int32_t count, int32_t kernel, int32_t stride,
    const channel_facts *channel, int8_t *output, int32_t width) {
    for (int32_t x = 0; x < width; ++x, output += channel->step) {
        int32_t sum = channel->bias;
        for (int32_t row = 0; row < count; ++row) {
            const int16_t *values = rows[row] + x * stride, *weight = weights + row * ROW_WEIGHTS;
            for (int32_t column = 0; column < kernel; ++column) {
                sum += values[column] * weight[column];
            }
        }
        *output = stored(sum, channel);
    }
}

INLINED int32_t pack_row(int16_t *to, const int8_t *from, int32_t kernel, int32_t stride, int32_t step) {
    (void)stride;
    for (int32_t column = 0; column < kernel; ++column, from += step) {
        to[column] = *from;
    }
    return 0;
}
#endif
#endif

typedef struct {
    int32_t input_height, input_width, output_height, output_width, pad_top, pad_left, zero_point, row_values;
} map_facts;

/* One channel; `kernel` and `stride` are constants where this is called. */
INLINED void one_channel(
    const int8_t *input, const int8_t *weight, int8_t *output, ring_value *ring, const map_facts *map,
    channel_facts *channel, int32_t kernel, int32_t stride) {
    row_weight weights[LARGEST * ROW_WEIGHTS];
    int32_t sums[LARGEST], step = channel->step, bias = channel->bias, next = 0;
    int32_t count = map->row_values - map->pad_left;
    count = count < map->input_width ? count : map->input_width;
    for (int32_t row = 0; row < kernel; ++row) {
        sums[row] = pack_row(weights + row * ROW_WEIGHTS, weight + row * kernel * step, kernel, stride, step);
    }
    for (int32_t y = 0; y < map->output_height; ++y, output += map->output_width * step) {
        const ring_value *rows[LARGEST];
        int32_t top = y * stride - map->pad_top, first = top < 0 ? 0 : top, last = top + kernel, live = 0;
        last = last < map->input_height ? last : map->input_height;
        for (; next < last; ++next, input += map->input_width * step) {
            load_row(ring + next % kernel * map->row_values + map->pad_left, input, count, step, map->zero_point);
        }
        channel->bias = bias;
        for (int32_t row = first; row < last; ++row) {
            rows[live++] = ring + row % kernel * map->row_values;
            channel->bias -= sums[row - top] * map->zero_point;
        }
        row_of_outputs(rows, weights + (first - top) * ROW_WEIGHTS, live, kernel, stride, channel, output,
                       map->output_width);
    }
}

void bknn_model_depthwise_in_place_s8(
    const int8_t *input, const int8_t *weight, const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
    int8_t *output, void *scratch, int32_t scratch_bytes,
    int32_t input_height, int32_t input_width, int32_t input_channels,
    int32_t output_height, int32_t output_width, int32_t output_channels,
    int32_t kernel_height, int32_t kernel_width, int32_t depth_multiplier,
    int32_t stride_height, int32_t stride_width, int32_t dilation_height, int32_t dilation_width,
    int32_t pad_top, int32_t pad_left,
    int32_t input_zero_point, int32_t output_zero_point, int32_t activation_min, int32_t activation_max) {
    int32_t values = ((output_width + BLOCK - 1) / BLOCK * BLOCK - 1) * stride_width + kernel_width;
    values += values & 1;
    const map_facts map = {input_height, input_width, output_height, output_width,
                           pad_top,      pad_left,    input_zero_point, values};
    ring_value *ring = (ring_value *)scratch;
    (void)scratch_bytes, (void)input_channels, (void)depth_multiplier, (void)stride_height, (void)kernel_height;
    (void)dilation_height, (void)dilation_width;

    /* Left and right of the map there are zeros, for all channels alike. */
#if defined(WITH_VECTORS)
    memset(ring, input_zero_point, (size_t)(values * kernel_width));
#else
    memset(ring, 0, (size_t)(values * kernel_width) * sizeof *ring);
#endif
    for (int32_t number = 0; number < output_channels; ++number, ++input, ++weight, ++output) {
        int32_t moved = shift[number];
        channel_facts channel = {
            bias[number],      multiplier[number], moved > 0 ? moved : 0,  moved < 0 ? -moved : 0,
            output_zero_point, activation_min,     activation_max,         output_channels};
#define KERNEL(side, stride)                                                                  \
    if (kernel_width == (side) && stride_width == (stride)) {                                 \
        one_channel(input, weight, output, ring, &map, &channel, side, stride);               \
        continue;                                                                             \
    }
#if defined(WITH_VECTORS)
        KERNEL(kernel_width, 1)
        KERNEL(kernel_width, 2)
#elif defined(WITH_PAIRS)
        KERNEL(3, 1)
        KERNEL(3, 2)
        KERNEL(5, 1)
        KERNEL(5, 2)
        KERNEL(7, 1)
        KERNEL(7, 2)
#endif
#undef KERNEL
        one_channel(input, weight, output, ring, &map, &channel, kernel_width, stride_width);
    }
}
