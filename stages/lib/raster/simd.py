"""Eight float32 in one SIMD register, as a Numba type with the usual operators.

LLVM's own vectoriser refuses a loop of eight steps when it cannot prove that two arrays do not overlap, and
then the backward kernel is four times slower. With an explicit type nothing depends on that proof. LLVM splits
the type where registers are narrower (SSE2, NEON), so it is as portable as the scalar code.

`Float8` supports + - * / with Float8, unary -, and >= > <, which give a `Mask8`; masks support & and ~.
Functions: `splat`, `ramp`, `load`, `store`, `prefetch`, `select`, `minimum`, `maximum`, `square_root`, `floor`, `ceil`,
`lane_sum`, `lane_sums`, `exp2_of_negative`. They exist in compiled code only.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 8
# fastmath for kernels: every freedom but "no NaN, no infinity", since a diverged fit must show.
FAST = {"contract", "reassoc", "arcp", "nsz"}
FLOAT = ir.FloatType()
INT = ir.IntType(32)
FLOATS = ir.VectorType(FLOAT, LANES)
INTS = ir.VectorType(INT, LANES)
BITS = ir.VectorType(ir.IntType(1), LANES)
# Pairs of shuffles whose sums add up eight vectors; within 128 bits but for the last, as AVX does it in one step.
LANE_SUM_SHUFFLES = (
    ([0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]),
    ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]),
    ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]),
)


class Float8(types.Type):
    """Numba's type of eight float32."""

    def __init__(self):
        super().__init__(name="Float8")


class Mask8(types.Type):
    """Numba's type of eight booleans, the result of a comparison."""

    def __init__(self):
        super().__init__(name="Mask8")


float8 = Float8()
mask8 = Mask8()


@register_model(Float8)
class _Float8Model(models.PrimitiveModel):
    def __init__(self, data_model_manager, frontend_type):
        super().__init__(data_model_manager, frontend_type, FLOATS)


@register_model(Mask8)
class _Mask8Model(models.PrimitiveModel):
    def __init__(self, data_model_manager, frontend_type):
        super().__init__(data_model_manager, frontend_type, BITS)


def _declare(function, result, *operands) -> None:
    """Tell Numba that `function` of these operand types gives `result`."""

    @infer_global(function)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            return signature(result, *operands) if tuple(args) == operands else None


def _binary(function, build, operand, result) -> None:
    _declare(function, result, operand, operand)

    @lower_builtin(function, type(operand), type(operand))
    def _lower(context, builder, signature_, args):
        return build(builder, *args)


def _unary(function, build, operand) -> None:
    _declare(function, operand, operand)

    @lower_builtin(function, type(operand))
    def _lower(context, builder, signature_, args):
        return build(builder, *args)


for _operator in (operator.add, operator.iadd):
    _binary(_operator, lambda b, x, y: b.fadd(x, y), float8, float8)
for _operator in (operator.mul, operator.imul):
    _binary(_operator, lambda b, x, y: b.fmul(x, y), float8, float8)
_binary(operator.sub, lambda b, x, y: b.fsub(x, y), float8, float8)
_binary(operator.truediv, lambda b, x, y: b.fdiv(x, y), float8, float8)
_binary(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), float8, mask8)
_binary(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), float8, mask8)
_binary(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), float8, mask8)
_binary(operator.and_, lambda b, x, y: b.and_(x, y), mask8, mask8)
_unary(operator.neg, lambda b, x: b.fsub(FLOATS([-0.0] * LANES), x), float8)
_unary(operator.invert, lambda b, x: b.not_(x), mask8)


def _broadcast(builder, scalar):
    """One value in all lanes."""
    single = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), scalar, INT(0))
    return builder.shuffle_vector(single, single, ir.Constant(INTS, [0] * LANES))


def _constant(value: float):
    return ir.Constant(FLOATS, [value] * LANES)


def _address(context, builder, array_type, array, index):
    """Pointer to eight floats from array[index] on; no bounds check and no negative indices."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), FLOATS.as_pointer())


@intrinsic
def splat(typingctx, value):
    """Float8 with a float32 in every lane."""
    if value != types.float32:
        return None

    def codegen(context, builder, sig, args):
        return _broadcast(builder, args[0])

    return float8(value), codegen


@intrinsic
def ramp(typingctx):
    """Float8 of 0, 1, ... 7."""

    def codegen(context, builder, sig, args):
        return ir.Constant(FLOATS, [float(lane) for lane in range(LANES)])

    return float8(), codegen


@intrinsic
def load(typingctx, array, index):
    """Float8 array[index : index + 8] of a contiguous float32 vector; the index is not checked."""
    if not isinstance(array, types.Array) or array.dtype != types.float32 or array.ndim != 1:
        return None

    def codegen(context, builder, sig, args):
        instruction = builder.load(_address(context, builder, sig.args[0], args[0], args[1]))
        instruction.align = 4
        return instruction

    return float8(array, types.uint64), codegen


@intrinsic
def store(typingctx, array, index, value):
    """array[index : index + 8] = value for a contiguous float32 vector; the index is not checked."""
    if not isinstance(array, types.Array) or array.dtype != types.float32 or array.ndim != 1:
        return None

    def codegen(context, builder, sig, args):
        instruction = builder.store(args[2], _address(context, builder, sig.args[0], args[0], args[1]))
        instruction.align = 4
        return context.get_dummy_value()

    return types.none(array, types.uint64, float8), codegen


@intrinsic
def select(typingctx, mask, yes, no):
    """`yes` in the lanes where mask is set, else `no`."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return float8(mask8, float8, float8), codegen


@intrinsic
def minimum(typingctx, a, b):
    """Smaller of two Float8, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return float8(float8, float8), codegen


@intrinsic
def maximum(typingctx, a, b):
    """Larger of two Float8, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return float8(float8, float8), codegen


def _llvm_unary(name: str):
    """Code generator that calls an LLVM intrinsic of one vector."""

    def codegen(context, builder, sig, args):
        function = builder.module.declare_intrinsic(f"{name}.v8f32", (), ir.FunctionType(FLOATS, [FLOATS]))
        return builder.call(function, args)

    return codegen


@intrinsic
def square_root(typingctx, value):
    """Square root of each lane."""
    return float8(float8), _llvm_unary("llvm.sqrt")


@intrinsic
def floor(typingctx, value):
    """Each lane rounded down."""
    return float8(float8), _llvm_unary("llvm.floor")


@intrinsic
def ceil(typingctx, value):
    """Each lane rounded up."""
    return float8(float8), _llvm_unary("llvm.ceil")


@intrinsic
def lane_sum(typingctx, value):
    """Sum of the eight lanes, always in the same order."""

    def codegen(context, builder, sig, args):
        total = args[0]
        for distance in (4, 2, 1):
            shifted = ir.Constant(INTS, [(lane + distance) % LANES for lane in range(LANES)])
            total = builder.fadd(total, builder.shuffle_vector(total, total, shifted))
        return builder.extract_element(total, INT(0))

    return types.float32(float8), codegen


@intrinsic
def lane_sums(typingctx, a, b, c, d, e, f, g, h):
    """Float8 of the sums of eight Float8, always in the same order: a third of the work of eight `lane_sum`."""

    def codegen(context, builder, sig, args):
        vectors = list(args)
        for low, high in LANE_SUM_SHUFFLES:
            low, high = ir.Constant(INTS, low), ir.Constant(INTS, high)
            vectors = [
                builder.fadd(builder.shuffle_vector(x, y, low), builder.shuffle_vector(x, y, high))
                for x, y in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        return vectors[0]

    return float8(*[float8] * LANES), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Ask for the cache line of array[index] (contiguous, flat index); it is read or written a little later."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [address.type, INT, INT, INT])
        function = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        builder.call(function, [address, INT(0), INT(3), INT(1)])
        return context.get_dummy_value()

    return types.none(array, types.uint64), codegen


# Minimax polynomial of 2**f on [-1, 0], highest power first: relative error 7.5e-8 before rounding.
EXP2_COEFFICIENTS = (0.00093878835, 0.009188612, 0.055279724, 0.24017219, 0.69314224, 0.99999994)
# 2**-126 is the smallest normal float32; far below any alpha that is drawn.
EXP2_SMALLEST = -100.0
MANTISSA_BITS = 23


@intrinsic
def exp2_of_negative(typingctx, exponent):
    """2**exponent for exponent <= 0, relative error 3e-7. Written out because libm has no SIMD version."""

    def codegen(context, builder, sig, args):
        smallest = _constant(EXP2_SMALLEST)
        x = builder.select(builder.fcmp_ordered(">", args[0], smallest), args[0], smallest)
        whole = builder.fptosi(x, INTS)
        part = builder.fsub(x, builder.sitofp(whole, FLOATS))
        value = _constant(EXP2_COEFFICIENTS[0])
        for coefficient in EXP2_COEFFICIENTS[1:]:
            value = builder.fadd(builder.fmul(value, part), _constant(coefficient))
        scale = builder.shl(whole, ir.Constant(INTS, [MANTISSA_BITS] * LANES))
        return builder.bitcast(builder.add(builder.bitcast(value, INTS), scale), FLOATS)

    return float8(float8), codegen
