"""float32 vector math: at most 2 ulp, over the whole range (measured in `vecmath`).

Every public function is plain Python on one scalar (`pow`: two), to be jitted into a loop by the
caller with ``forceinline=True``, ``error_model="numpy"`` and fast-math at most ``{"contract"}``
(``reassoc`` would undo the reductions).  Constants are np.float32, for float32 code must not
widen unawares; where float64 is used, it is meant: it costs less than the care float32 would
need.

Sources: argument reduction and scaling after Cody and Waite, Software Manual for the Elementary
Functions (1980), without tables, since a gather costs more than it saves.  The coefficients are
ours: each ``*_Q`` is the minimax polynomial (Remez exchange in 50-digit arithmetic, then rounded to
the type) of the function in the comment above it, on the interval given, with the weight that makes
the error relative to the function's result; that error before rounding is given too.  ``minimax``
in the test file makes them.
"""

import numpy as np

from jitgrad.kernels.vecmath_bits import (
    SCALES,
    bits32,
    bits64,
    copysign,
    fabs,
    float32_from_bits,
    float64_from_bits,
    fma,
    helper,
    ldexp,
    low32,
    poly,
    rint,
    select,
    sqrt,
)

F = np.float32

# fmt: off
ZERO = F(0.0)
QUARTER = F(0.25)
HALF = F(0.5)
ONE = F(1.0)
TWO = F(2.0)
INF = F(np.inf)
NAN = F(np.nan)
MIN_NORMAL = F(2.0**-126)
# Adding 1.5 * 2^23 rounds to an integer and leaves that integer in the low bits of the sum.
ROUND = F(1.5 * 2.0**23)
ROUND_64 = 1.5 * 2.0**52
LOG2_E = F(1.4426950408889634)
LN2_HI = F(0.693359375)  # 9 bits: n * LN2_HI is exact
LN2_LO = F(-2.12194440054690583e-4)
SQRT_HALF_BITS = 0x3F3504F3
SQRT_HALF_BITS_64 = 0x3FE6A09E667F3BCD
# (exp(r) - 1 - r) / r^2, abs(r) <= ln(2) / 2, relative to expm1(r): 2^-32
EXP_Q = (
    F(0.5), F(0.16666667), F(0.041666355), F(0.008333272), F(0.0013941107), F(0.00019914398),
)
# the same, relative to exp(r): 2^-28
EXP_ONLY_Q = (
    F(0.5), F(0.1666652), F(0.041666165), F(0.008368882), F(0.0013952634),
)
LN2 = F(0.6931471805599453)
# (2^r - 1 - r ln 2) / r^2, abs(r) <= 1/2: 2^-28
EXP2_Q = (
    F(0.2402265), F(0.055503618), F(0.0096180225), F(0.0013390437), F(0.00015471838),
)
# (log(1 + f) - f + f^2 / 2) / f^3, 1 + f in [sqrt(1/2), sqrt(2)]: 2^-27
LOG_Q = (
    F(0.33333316), F(-0.2500081), F(0.20002288), F(-0.16624556), F(0.14181173), F(-0.13128719),
    F(0.12881756), F(-0.0785982),
)
LOG2_E_LO = F(1.925963e-08)
# (log2(1 + f) - f log2(e)) / f^2, same interval: 2^-30
LOG2_Q = (
    F(-0.7213475), F(0.48089802), F(-0.36067355), F(0.28857106), F(-0.24048665), F(0.20513333),
    F(-0.17866687), F(0.17128085), F(-0.1700935), F(0.09978797),
)
LOG10_E = F(0.4342944819032518)
LOG10_E_LO = F(-1.010305e-08)
LOG10_2_HI = F(0.30078125)
LOG10_2_LO = F(0.0002487456639811952)
# (log10(1 + f) - f log10(e)) / f^2, same interval: 2^-31
LOG10_Q = (
    F(-0.21714725), F(0.14476472), F(-0.10857356), F(0.08686854), F(-0.07239369),
    F(0.061751284), F(-0.053784087), F(0.05156067), F(-0.051203247), F(0.030039173),
)
TWO_OVER_PI = 0.6366197723675814
PIO2_64 = 1.5707963267948966
PIO2_LO_64 = 6.123233995736766e-17
PIO2 = F(1.5707963267948966)
PIO2_LO = F(-4.371139e-08)
# (sin(r) - r) / r^3 in z = r^2, abs(r) <= pi/4 + 0.02: 2^-37
SIN_Q = (
    F(-0.16666667), F(0.008333329), F(-0.00019839131), F(2.716395e-06),
)
# (cos(r) - 1 + r^2 / 2) / r^4 in z = r^2: 2^-33
COS_Q = (
    F(0.04166664), F(-0.0013887208), F(2.4419893e-05),
)
# (tan(r) - r) / r^3 in z = r^2: 2^-29
TAN_Q = (
    F(0.3333336), F(0.13332286), F(0.05410187), F(0.021068795), F(0.011381531),
    F(-0.0005936784), F(0.0047093276),
)
ASIN_CUT = F(0.5625)
# (asin(s) - s) / s^3 in z = s^2 <= 0.3165: 2^-29
ASIN_Q = (
    F(0.1666663), F(0.075021535), F(0.044224408), F(0.03405917), F(0.006604589), F(0.047631096),
)
# (atan(s) - s) / s^3 in z = s^2 <= 1: 2^-26
ATAN_Q = (
    F(-0.33333167), F(0.19994137), F(-0.1421421), F(0.10678944), F(-0.07580584), F(0.04355361),
    F(-0.016581222), F(0.002974599),
)
ERF_Q0 = F(1.1283791666278888)
# -log(erfc(a)) / a on [0, 3.95], relative to erf(a): 2^-31; the first coefficient is in two parts
ERF_Q = (
    F(-5.910301e-08), F(0.6366198), F(0.102771275), F(-0.019117694), F(-0.00025306057),
    F(0.0017993532), F(-0.0007406853), F(0.00016748067), F(-2.1354519e-05), F(1.193291e-06),
)
ERFC_CENTRE = 2.5
# exp(a^2) erfc(a) in t = (a - k) / (a + k), a in [0, 10.1], relative: 2^-29
ERFC_Q = (
    0.2108063642707168, -0.3717367297414805, 0.25171316320875553, -0.1250331888751357,
    0.03992311566734412, -0.003992283682807141, -0.0026459427059950507, 0.0008687944378468069,
    0.00023660272871917225, -0.0001109037762008429, -3.761305072660625e-05,
)
LOG2_E_64 = 1.4426950408889634
# log2(1 + f) / f, 1 + f in [sqrt(1/2), sqrt(2)], relative: 2^-36
POW_LOG2_Q = (
    1.4426950408686052, -0.7213475208713039, 0.48089836144705767, -0.3606736744476868,
    0.288537289051376, -0.2404531796504758, 0.20617549734637838, -0.18030044617047727,
    0.15876796862384052, -0.1431563076737339, 0.14475773230733321, -0.1428464121560582,
    0.07736391329313196,
)
LN2_64 = 0.6931471805599453
# EXP2_Q before rounding
POW_EXP2_Q = (
    0.24022651152960578, 0.05550361656115398, 0.009618022765910368, 0.0013390437358476782,
    0.00015471837122850213,
)
# Beyond it the rounding of n takes r out of the interval of the polynomials.
TRIG_LIMIT = F(2.0**40)
# fmt: on


@helper
def _clamp(x, low, high):
    """Return x within [low, high]; NaN stays."""
    x = select(x > high, high, x)
    return select(x < low, low, x)


@helper
def _exp_reduce(x):
    """Return ``t, r``: the integer n in the low bits of t, and r = x - n ln 2."""
    t = fma(x, LOG2_E, ROUND)
    n = t - ROUND
    return t, fma(n, -LN2_LO, fma(n, -LN2_HI, x))


@helper
def _expm1_poly(r):
    """Return exp(r) - 1 for abs(r) <= ln(2) / 2."""
    return fma(r * r, poly(r, EXP_Q), r)


@helper
def _exp_poly(r):
    """Return exp(r) for abs(r) <= ln(2) / 2."""
    return fma(r * r, poly(r, EXP_ONLY_Q), r) + ONE


@helper
def _power_of_two(t, offset):
    """Return 2^(n + offset) with n in the low bits of t."""
    return float32_from_bits(low32((bits32(t) + (127 + offset)) << 23))


@helper
def _scale(p, t):
    """Return p * 2^n with n in the low bits of t, rounded once even when subnormal."""
    n = low32(bits32(t) - bits32(ROUND))
    if SCALES:
        return ldexp(p, n)
    half = low32(n >> 1)
    a = float32_from_bits(low32((half + 127) << 23))
    b = float32_from_bits(low32((n - half + 127) << 23))
    return p * a * b


@helper
def _log_split(x):
    """Return ``e, f`` with x = 2^e (1 + f) and 1 + f in [sqrt(1/2), sqrt(2))."""
    tiny = x < MIN_NORMAL
    y = select(tiny, x * F(2.0**23), x)
    i = low32(bits32(y) - SQRT_HALF_BITS)
    e = F(low32(i >> 23)) - select(tiny, F(23.0), ZERO)
    return e, float32_from_bits(low32(bits32(y) - low32(i & -0x800000))) - ONE


@helper
def _log_ends(x, r):
    """Return r, or what any logarithm of x is where x is not positive and finite."""
    r = select(x > ZERO, r, NAN)
    r = select(x == ZERO, -INF, r)
    return select(x == INF, INF, r)


@helper
def _log_sum(e, f):
    """Return e ln 2 + log(1 + f)."""
    f2 = f * f
    u = fma(e, LN2_LO, f2 * f * poly(f, LOG_Q))
    return fma(e, LN2_HI, f + fma(-HALF, f2, u))


@helper
def _trig_reduce(x):
    """Return ``quadrant, r``: quadrant = n mod 4 (int32) and r = x - n pi/2 as a float64."""
    d = np.float64(x)
    t = fma(d, TWO_OVER_PI, ROUND_64)
    n = t - ROUND_64
    return low32(bits64(t)), fma(n, -PIO2_LO_64, fma(n, -PIO2_64, d))


@helper
def _sin_cos(r, quadrant):
    """Return sin(r + quadrant pi/2) for abs(r) <= 0.8."""
    z = r * r
    s = fma(r * z, poly(z, SIN_Q), r)
    c = fma(z, fma(z, poly(z, COS_Q), -HALF), ONE)
    y = select((quadrant & 1) == 0, s, c)
    return float32_from_bits(low32(bits32(y) ^ low32(quadrant << 30) & -0x80000000))


def exp_f32(x):
    """exp(x): x = n ln 2 + r (Cody and Waite), minimax polynomial in r, scaled by 2^n."""
    t, r = _exp_reduce(_clamp(x, F(-104.5), F(89.0)))
    return _scale(_exp_poly(r), t)


def expm1_f32(x):
    """exp(x) - 1 as 2^n (exp(r) - 1) + (2^n - 1), which does not cancel."""
    t, r = _exp_reduce(_clamp(x, F(-20.0), F(89.0)))
    s = _power_of_two(t, -1)
    h = fma(s, _expm1_poly(r), s - HALF)
    return select(fabs(x) < F(2.0**-25), x, h + h)


def exp2_f32(x):
    """2^x: x = n + r is exact, minimax polynomial in r."""
    y = _clamp(x, F(-151.0), F(129.0))
    t = y + ROUND
    r = y - (t - ROUND)
    return _scale(fma(r, LN2, r * r * poly(r, EXP2_Q)) + ONE, t)


def sigmoid_f32(x):
    """1 / (1 + exp(-x)), down to the subnormal results that overflow of exp(-x) would lose."""
    a = -fabs(x)
    t, r = _exp_reduce(select(a < F(-104.5), F(-104.5), a))
    e = _scale(_exp_poly(r), t)
    # 1 / (1 + e) and e / (1 + e), as corrections to 1 and to e
    y = select(x < ZERO, e, ONE)
    return fma(-y, e / (ONE + e), y)


def tanh_f32(x):
    """tanh(x) = h / (1 + h) with h = expm1(2 abs(x)) / 2."""
    a = fabs(x)
    t, r = _exp_reduce(select(a > F(10.0), F(20.0), a + a))
    s = _power_of_two(t, -1)
    h = fma(s, _expm1_poly(r), s - HALF)
    # h - h q rounds better than q while h is small (sinh below: likewise)
    q = h / (h + ONE)
    y = select(a < HALF, fma(-h, q, h), q)
    return copysign(select(a < F(2.0**-13), a, y), x)


def sinh_f32(x):
    """sinh(x) = (m + m / (m + 1)) / 2 with m = expm1(abs(x))."""
    a = fabs(x)
    # a quarter of the result, as its factor 2^(n - 2) does not overflow before it does
    t, r = _exp_reduce(select(a > F(89.5), F(89.5), a))
    s = _power_of_two(t, -2)
    q = fma(s, _expm1_poly(r), s - QUARTER)
    w = q / fma(F(4.0), q, ONE)
    y = select(a < F(0.6), fma(F(-4.0) * q, w, q + q), q + w)
    return copysign(select(a < F(2.0**-13), a, y + y), x)


def cosh_f32(x):
    """cosh(x) = (y + 1 / y) / 2 with y = exp(abs(x))."""
    a = fabs(x)
    t, r = _exp_reduce(select(a > F(89.5), F(89.5), a))
    q = _power_of_two(t, -2) * (_expm1_poly(r) + ONE)
    q = q + F(0.0625) / q
    return q + q


def log_f32(x):
    """log(x): x = 2^e (1 + f), polynomial in f."""
    e, f = _log_split(x)
    return _log_ends(x, _log_sum(e, f))


def log2_f32(x):
    """log2(x), exact at powers of two."""
    e, f = _log_split(x)
    return _log_ends(x, fma(f, LOG2_E, fma(f, LOG2_E_LO, f * f * poly(f, LOG2_Q))) + e)


def log10_f32(x):
    """log10(x)."""
    e, f = _log_split(x)
    u = fma(e, LOG10_2_LO, fma(f, LOG10_E_LO, f * f * poly(f, LOG10_Q)))
    return _log_ends(x, fma(e, LOG10_2_HI, fma(f, LOG10_E, u)))


def log1p_f32(x):
    """log(1 + x): k from 1 + x as rounded, f = (1 + x) / 2^k - 1 from x with one rounding."""
    i = low32(bits32(x + ONE) - SQRT_HALF_BITS)
    k = low32(i >> 23)
    h = float32_from_bits(low32((129 - k) << 23))
    f = fma(QUARTER * x, h, fma(QUARTER, h, -ONE))
    r = _log_sum(F(k), f)
    r = select(fabs(x) < F(2.0**-25), x, r)
    return _log_ends(x + ONE, r)


def sin_f32(x):
    """sin(x) for abs(x) <= TRIG_LIMIT."""
    n, r = _trig_reduce(x)
    return select(fabs(x) < F(2.0**-13), x, _sin_cos(F(r), n))


def cos_f32(x):
    """cos(x) for abs(x) <= TRIG_LIMIT."""
    n, r = _trig_reduce(x)
    return _sin_cos(F(r), low32(n + 1))


def tan_f32(x):
    """tan(x) for abs(x) <= TRIG_LIMIT: polynomial in r, or -1 over it in odd quadrants."""
    n, r = _trig_reduce(x)
    hi = F(r)
    lo = F(r - np.float64(hi))
    z = hi * hi
    y = hi + fma(hi * z, poly(z, TAN_Q), fma(lo, fma(z, z, z), lo))
    y = select((n & 1) == 0, y, -ONE / y)
    return select(fabs(x) < F(2.0**-13), x, y)


def asin_f32(x):
    """asin(x): a polynomial, or from pi/2 - 2 asin(sqrt((1 - x) / 2)) for large x."""
    a = fabs(x)
    big = a > ASIN_CUT
    z = select(big, fma(-HALF, a, HALF), a * a)
    s = select(big, sqrt(z), a)
    w = fma(s * z, poly(z, ASIN_Q), s)
    return copysign(select(big, PIO2 + fma(-TWO, w, PIO2_LO), w), x)


def acos_f32(x):
    """acos(x), by the polynomial of asin."""
    a = fabs(x)
    big = a > ASIN_CUT
    z = select(big, fma(-HALF, a, HALF), a * a)
    s = select(big, sqrt(z), a)
    w = copysign(fma(s * z, poly(z, ASIN_Q), s), x)
    near_one = x > ASIN_CUT
    r = select(near_one, ZERO, PIO2) + (select(near_one, ZERO, PIO2_LO) + select(big, w, -w))
    return select(big, r + r, r)


def atan_f32(x):
    """atan(x), with atan(x) = pi/2 - atan(1 / x) beyond 1."""
    a = fabs(x)
    big = a > ONE
    s = select(big, ONE, a) / select(big, a, ONE)
    z = s * s
    w = fma(s * z, poly(z, ATAN_Q), s)
    return copysign(select(big, PIO2 + (PIO2_LO - w), w), x)


def erf_f32(x):
    """erf(x) = -expm1(log(erfc(abs(x)))), with one polynomial for that logarithm."""
    a = fabs(x)
    a = select(a > F(4.0), F(4.0), a)
    t, r = _exp_reduce(fma(-a, ERF_Q0, -a * poly(a, ERF_Q)))
    s = _power_of_two(t, 0)
    return copysign(fma(-s, _expm1_poly(r), ONE - s), x)


@helper
def _exp2_64(y):
    """Return 2^y in float64 to 2^-28, for abs(y) < 1000."""
    t = y + ROUND_64
    r = y - (t - ROUND_64)
    p = fma(r, fma(r, poly(r, POW_EXP2_Q), LN2_64), 1.0)
    return float64_from_bits(bits64(p) + (bits64(t) << 52))


def erfc_f32(x):
    """erfc(x) = exp(-a^2) F(t), in float64, with a = abs(x); 2 minus that for x < 0."""
    a = np.float64(fabs(x))
    a = select(a > 10.1, 10.1, a)
    t = (a - ERFC_CENTRE) / (a + ERFC_CENTRE)
    y = poly(t, ERFC_Q) * _exp2_64(-LOG2_E_64 * (a * a))
    return F(select(x < ZERO, 2.0 - y, y))


def pow_f32(x, y):
    """x^y = 2^(y log2(x)) in float64; the special cases of C99."""
    a = np.float64(fabs(x))
    i = bits64(a) - SQRT_HALF_BITS_64
    f = float64_from_bits(bits64(a) - (i & -0x10000000000000)) - 1.0
    e = float64_from_bits((i >> 52) + bits64(ROUND_64)) - ROUND_64
    log = fma(f, poly(f, POW_LOG2_Q), e)
    log = select(a < np.inf, log, a)
    log = select(a == 0.0, -np.inf, log)
    w = np.float64(y) * log
    w = select(w > 200.0, 200.0, w)
    w = select(w < -200.0, -200.0, w)
    r = F(_exp2_64(w))
    whole = rint(y) == y
    odd = whole & (rint(HALF * y) != HALF * y)
    r = select(odd, copysign(r, x), r)
    r = select((x < ZERO) & (x > -INF) & (rint(y) != y), NAN, r)
    return select((x == ONE) | (y == ZERO) | ((x == -ONE) & (fabs(y) == INF)), ONE, r)
