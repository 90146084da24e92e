/* Uses CMSIS-NN's requantisation, which rounds as TensorFlow Lite Micro does. */
#include "bknn_model.h"
#if OFA_CMSIS_NN
#include "bknn_model_add.h"
#include "bknn_model_kernels.h"
#include "cmsis_nn/arm_nnsupportfunctions.h"

#define ADD_SHIFT 20 /* TensorFlow Lite's, for int8 additions */

static inline void add_row(
    const int8_t *input_a, const int8_t *input_b, int8_t *output, int32_t count,
    int32_t input_a_zero_point, int32_t input_b_zero_point, int32_t output_zero_point,
    int32_t input_a_multiplier, int32_t input_a_shift,
    int32_t input_b_multiplier, int32_t input_b_shift,
    int32_t output_multiplier, int32_t output_shift,
    int32_t activation_min, int32_t activation_max) {
#if defined(ARM_MATH_MVEI)
    for (; count > 0; count -= 4, input_a += 4, input_b += 4, output += 4) {
        mve_pred16_t live = vctp32q((uint32_t)count);
        int32x4_t a = vldrbq_z_s32(input_a, live), b = vldrbq_z_s32(input_b, live);
        a = vshlq_n_s32(vsubq_n_s32(a, input_a_zero_point), ADD_SHIFT);
        b = vshlq_n_s32(vsubq_n_s32(b, input_b_zero_point), ADD_SHIFT);
        a = arm_requantize_mve(a, input_a_multiplier, input_a_shift);
        b = arm_requantize_mve(b, input_b_multiplier, input_b_shift);
        a = arm_requantize_mve(vaddq_s32(a, b), output_multiplier, output_shift);
        a = vaddq_n_s32(a, output_zero_point);
        a = vminq_s32(vmaxq_s32(a, vdupq_n_s32(activation_min)), vdupq_n_s32(activation_max));
        vstrbq_p_s32(output, a, live);
    }
#else
    for (; count > 0; --count) {
        int32_t a = (*input_a++ - input_a_zero_point) * (1 << ADD_SHIFT);
        int32_t b = (*input_b++ - input_b_zero_point) * (1 << ADD_SHIFT);
        a = arm_nn_requantize(a, input_a_multiplier, input_a_shift);
        b = arm_nn_requantize(b, input_b_multiplier, input_b_shift);
        a = arm_nn_requantize(a + b, output_multiplier, output_shift) + output_zero_point;
        *output++ = (int8_t)MIN(MAX(a, activation_min), activation_max);
    }
#endif
}

void bknn_model_fast_add_s8(
    const int8_t *input_a, const int8_t *input_b, int8_t *output,
    size_t dim0, size_t dim1, size_t dim2, size_t dim3,
    size_t a_stride0, size_t a_stride1, size_t a_stride2, size_t a_stride3,
    size_t b_stride0, size_t b_stride1, size_t b_stride2, size_t b_stride3,
    int32_t input_a_zero_point, int32_t input_b_zero_point, int32_t output_zero_point,
    int32_t input_a_multiplier, int32_t input_a_shift,
    int32_t input_b_multiplier, int32_t input_b_shift,
    int32_t output_multiplier, int32_t output_shift,
    int32_t activation_min, int32_t activation_max) {
    int32_t rows = (int32_t)dim1, size = (int32_t)(dim2 * dim3);
    if (dim0 != 1 || a_stride3 != 1 || b_stride3 != 1 || a_stride2 != dim3 || b_stride2 != dim3) { /* broadcast */
        bknn_model_add_s8(
            input_a, input_b, output, dim0, dim1, dim2, dim3, a_stride0, a_stride1, a_stride2, a_stride3, b_stride0,
            b_stride1, b_stride2, b_stride3, input_a_zero_point, input_b_zero_point, output_zero_point,
            input_a_multiplier, input_a_shift, input_b_multiplier, input_b_shift, output_multiplier, output_shift,
            activation_min, activation_max);
        return;
    }
    if (a_stride1 == dim2 * dim3 && b_stride1 == dim2 * dim3) { /* no window of a larger map */
        size *= rows;
        rows = 1;
    }
    for (; rows > 0; --rows, input_a += a_stride1, input_b += b_stride1) {
        add_row(input_a, input_b, output, size, input_a_zero_point, input_b_zero_point, output_zero_point,
                input_a_multiplier, input_a_shift, input_b_multiplier, input_b_shift, output_multiplier, output_shift,
                activation_min, activation_max);
        output += size;
    }
}
#endif
