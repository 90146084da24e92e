/* A depthwise convolution, channel by channel, whose output may be written over its input. */
#ifndef BKNN_MODEL_DEPTHWISE_H
#define BKNN_MODEL_DEPTHWISE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
void bknn_model_depthwise_in_place_s8(
    const int8_t *input, const int8_t *weight, const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
    int8_t *output, void *scratch, int32_t scratch_bytes,
    int32_t input_height, int32_t input_width, int32_t input_channels,
    int32_t output_height, int32_t output_width, int32_t output_channels,
    int32_t kernel_height, int32_t kernel_width, int32_t depth_multiplier,
    int32_t stride_height, int32_t stride_width, int32_t dilation_height, int32_t dilation_width,
    int32_t pad_top, int32_t pad_left,
    int32_t input_zero_point, int32_t output_zero_point, int32_t activation_min, int32_t activation_max);
#ifdef __cplusplus
}
#endif

#endif
