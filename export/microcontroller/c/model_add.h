/* The addition of two maps of one shape: what bakenn's portable kernel computes, in a fraction of its instructions. */
#ifndef BKNN_MODEL_ADD_H
#define BKNN_MODEL_ADD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
void bknn_model_fast_add_s8(
    const int8_t *input_a, const int8_t *input_b, int8_t *output,
    size_t dim0, size_t dim1, size_t dim2, size_t dim3,
    size_t a_stride0, size_t a_stride1, size_t a_stride2, size_t a_stride3,
    size_t b_stride0, size_t b_stride1, size_t b_stride2, size_t b_stride3,
    int32_t input_a_zero_point, int32_t input_b_zero_point, int32_t output_zero_point,
    int32_t input_a_multiplier, int32_t input_a_shift,
    int32_t input_b_multiplier, int32_t input_b_shift,
    int32_t output_multiplier, int32_t output_shift,
    int32_t activation_min, int32_t activation_max);
#ifdef __cplusplus
}
#endif

#endif
