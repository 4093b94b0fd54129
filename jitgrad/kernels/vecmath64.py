"""float64 vector math: at most 4 ulp, over the whole range (measured in `vecmath`).

Every public function is plain Python on one scalar (`pow`: two), to be jitted into a loop by the
caller with ``forceinline=True``, ``error_model="numpy"`` and fast-math at most ``{"contract"}``
(``reassoc`` would undo the reductions).

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
    bits64,
    copysign,
    fabs,
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

# fmt: off
INF = np.inf
NAN = np.nan
MIN_NORMAL = 2.0**-1022
EXPONENT = -0x10000000000000
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
ROUND = 1.5 * 2.0**52
LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
LN2_HI = 0.6931471805598903
LN2_LO = 5.497923018708371e-14
LOG10_E = 0.4342944819032518
LOG10_2_HI = 0.30102999566395283
LOG10_2_LO = 2.8363394551044964e-14
TWO_OVER_PI = 0.6366197723675814
PIO2 = 1.5707963267948966
PIO2_LO = 6.123233995736765e-17
PIO2_3 = 1.0828566739219139e-32
PIO4 = 0.7853981633974483
PIO4_LO = 3.0616169978683826e-17
# (exp(r) - 1 - r) / r^2, abs(r) <= ln(2) / 2, relative to expm1(r): 2^-56
EXP_Q = (
    0.5000000000000006, 0.16666666666666688, 0.04166666666657293, 0.00833333333331409,
    0.00138888889326431, 0.0001984126990404581, 2.4801504104204857e-05, 2.7557227084937354e-06,
    2.7626468915349616e-07, 2.5114740944186028e-08,
)
# (2^r - 1 - r ln 2) / r^2, abs(r) <= 1/2: 2^-58
EXP2_Q = (
    0.24022650695910133, 0.05550410866482169, 0.00961812910759362, 0.001333355814638643,
    0.00015403530457782069, 1.5252733862767381e-05, 1.321543494265718e-06,
    1.0178047919647797e-07, 7.073841405365779e-09, 4.457216547047719e-10,
)
# (2 atanh(s) - 2 s) / s^3 in z = s^2, abs(s) <= 0.1716: 2^-58
LOG_Q = (
    0.6666666666666734, 0.3999999999941489, 0.28571428742385385, 0.22222198568326212,
    0.18183564845240602, 0.15314030688548091, 0.14796210503447382,
)
# (sin(r) - r) / r^3 in z = r^2, abs(r) <= pi/4 + 0.02: 2^-57
SIN_Q = (
    -0.1666666666666662, 0.00833333333331933, -0.00019841269827282693, 2.755731280048534e-06,
    -2.5050616701376335e-08, 1.5888519484473234e-10,
)
# (cos(r) - 1 + r^2 / 2) / r^4 in z = r^2: 2^-64
COS_Q = (
    0.041666666666666574, -0.0013888888888869935, 2.4801587286805394e-05,
    -2.7557313565011866e-07, 2.0875614766245763e-09, -1.1353970693997171e-11,
)
# (tan(r) - r) / r^3 in z = r^2: 2^-55
TAN_Q = (
    0.33333333333331916, 0.13333333333528136, 0.05396825387462626, 0.021869490808013772,
    0.008863202904092479, 0.003592430498577115, 0.0014539286528788874, 0.0005984375527792811,
    0.00021275263529132535, 0.0001557506112892855, -5.268698944771682e-05,
    0.00011293453829883125, -5.720108139356907e-05, 2.3746891298353037e-05,
)
# (asin(s) - s) / s^3 in z = s^2 <= 1/4: 2^-56
ASIN_Q = (
    0.16666666666665383, 0.07500000000343005, 0.04464285682350957, 0.03038195933027022,
    0.022371753545073335, 0.017359770796748112, 0.013884601379783507, 0.012173261214586225,
    0.006510927376307684, 0.01957371429299037, -0.01629378783570791, 0.031958779207052694,
)
# (atan(s) - s) / s^3 in z = s^2, abs(s) <= tan(pi/8): 2^-59
ATAN_Q = (
    -0.333333333333332, 0.19999999999953916, -0.14285714280230727, 0.1111111078520131,
    -0.090908978083229, 0.07692061117798207, -0.06663114284865854, 0.05847963231574925,
    -0.0503963421930396, 0.038072823806365015, -0.017916127056930034,
)
ERFC_CENTRE = 3.5
ERFC_Q0 = 0.6988214502400243
# (1 + a) exp(a^2) erfc(a) in t = (a - k) / (a + k), a in [0, 27.3], relative: 2^-57
ERFC_Q = (
    -0.21463711248519335, 0.11128744263401764, -0.03190971480563198, -0.010330895625583298,
    0.0212731963208963, -0.015923282446302523, 0.007428546164474686, -0.0019738174315774384,
    -6.856297099355218e-06, 0.0002281499714529429, -6.30932140442537e-05,
    -1.4718805161029905e-05, 1.1316681128398691e-05, 4.07038368737205e-07,
    -1.7232406211607914e-06, 6.891526199683935e-08, 2.70853368469248e-07,
    -1.1835705342807627e-08, -4.335421226917914e-08, -1.985946208530141e-09,
    5.164717264947761e-09, 1.1189329252500357e-09,
)
ERF_Q0 = 1.1283791670955126
# -log(erfc(a)) / a on [0, 5.95], relative to erf(a): 2^-55; the first coefficient is in two parts
ERF_Q = (
    1.533545961316588e-17, 0.6366197723675909, 0.10277260330131553, -0.019128446993096692,
    -0.00020919485389927041, 0.0016962076696831856, -0.000590132429167644,
    2.5904495952606082e-05, 6.44204828368146e-05, -2.9575690332765084e-05, 3.16970740095213e-06,
    3.132919828503575e-06, -2.0371494979001913e-06, 5.706042504344125e-07,
    -1.1691964334327165e-08, -6.574100990841291e-08, 3.458757468108328e-08,
    -1.0774132310424016e-08, 2.3606885198363817e-09, -3.761003610632559e-10,
    4.302144531584993e-11, -3.3646527234784507e-12, 1.615028153341708e-13,
    -3.592572288923191e-15,
)
TWO_THIRDS = 0.6666666666666666
TWO_THIRDS_LO = 3.700743415417188e-17
# (2 atanh(s) - 2 s - 2 s^3 / 3) / s^5 in z = s^2, abs(s) <= 0.1716: 2^-73
POW_LOG_Q = (
    0.3999999999999998, 0.285714285714448, 0.22222222217597418, 0.1818181886406511,
    0.15384557235103832, 0.1333630525701078, 0.11675035639248708, 0.11987406196093389,
)
# Up to here x * 2/pi keeps 12 bits of fraction, so r stays in the interval of the polynomials.
TRIG_LIMIT = 2.0**40
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
def _power_of_two(t, offset):
    """Return 2^(n + offset) with n in the low bits of t."""
    return float64_from_bits((bits64(t) + (1023 + offset)) << 52)


@helper
def _scale(p, t):
    """Return p * 2^n with n in the low bits of t, rounded once even when subnormal."""
    n = bits64(t) - bits64(ROUND)
    if SCALES:
        return ldexp(p, low32(n))
    half = n >> 1
    return p * float64_from_bits((half + 1023) << 52) * float64_from_bits((n - half + 1023) << 52)


@helper
def _to_float(i):
    """Return a small int64 as float64 (AVX2 has no instruction for it)."""
    return float64_from_bits(i + bits64(ROUND)) - ROUND


@helper
def _log_split(x):
    """Return ``e, f`` with x = 2^e (1 + f) and 1 + f in [sqrt(1/2), sqrt(2))."""
    tiny = x < MIN_NORMAL
    y = select(tiny, x * 2.0**52, x)
    i = bits64(y) - SQRT_HALF_BITS
    e = _to_float(i >> 52) - select(tiny, 52.0, 0.0)
    return e, float64_from_bits(bits64(y) - (i & EXPONENT)) - 1.0


@helper
def _log_ends(x, r):
    """Return r, or what any logarithm of x is where x is not positive and finite."""
    r = select(x > 0.0, r, NAN)
    r = select(x == 0.0, -INF, r)
    return select(x == INF, INF, r)


@helper
def _log_sub(f):
    """Return c with log(1 + f) = f - c."""
    s = f / (2.0 + f)
    z = s * s
    return s * fma(-z, poly(z, LOG_Q), f)


@helper
def _log_sum(e, f):
    """Return e ln 2 + log(1 + f)."""
    return fma(e, LN2_HI, f - fma(e, -LN2_LO, _log_sub(f)))


@helper
def _trig_reduce(x):
    """Return ``t, r``: the integer n in the low bits of t, and r = x - n pi/2."""
    t = fma(x, TWO_OVER_PI, ROUND)
    n = t - ROUND
    return t, fma(n, -PIO2_3, fma(n, -PIO2_LO, fma(n, -PIO2, x)))


@helper
def _sin_cos(r, quadrant):
    """Return sin(r + quadrant pi/2) for abs(r) <= 0.8."""
    z = r * r
    s = fma(r * z, poly(z, SIN_Q), r)
    c = fma(z, fma(z, poly(z, COS_Q), -0.5), 1.0)
    y = select((quadrant & 1) == 0, s, c)
    return float64_from_bits(bits64(y) ^ ((quadrant >> 1) << 63))


def exp_f64(x):
    """exp(x): x = n ln 2 + r (Cody and Waite), minimax polynomial in r, scaled by 2^n."""
    t, r = _exp_reduce(_clamp(x, -746.0, 710.0))
    return _scale(_expm1_poly(r) + 1.0, t)


def expm1_f64(x):
    """exp(x) - 1 as 2^n (exp(r) - 1) + (2^n - 1), which does not cancel."""
    t, r = _exp_reduce(_clamp(x, -40.0, 710.0))
    s = _power_of_two(t, -1)
    h = fma(s, _expm1_poly(r), s - 0.5)
    return select(fabs(x) < 2.0**-54, x, h + h)


def exp2_f64(x):
    """2^x: x = n + r is exact, minimax polynomial in r."""
    y = _clamp(x, -1076.0, 1025.0)
    t = y + ROUND
    r = y - (t - ROUND)
    return _scale(fma(r, LN2, r * r * poly(r, EXP2_Q)) + 1.0, t)


def sigmoid_f64(x):
    """1 / (1 + exp(-x)), down to the subnormal results that overflow of exp(-x) would lose."""
    a = -fabs(x)
    t, r = _exp_reduce(select(a < -746.0, -746.0, a))
    e = _scale(_expm1_poly(r) + 1.0, t)
    # 1 / (1 + e) and e / (1 + e), as corrections to 1 and to e
    y = select(x < 0.0, e, 1.0)
    return fma(-y, e / (1.0 + e), y)


def tanh_f64(x):
    """tanh(x) = h / (1 + h) with h = expm1(2 abs(x)) / 2."""
    a = fabs(x)
    t, r = _exp_reduce(select(a > 20.0, 40.0, a + a))
    s = _power_of_two(t, -1)
    h = fma(s, _expm1_poly(r), s - 0.5)
    # h - h q rounds better than q while h is small (sinh below: likewise)
    q = h / (h + 1.0)
    y = select(a < 0.5, fma(-h, q, h), q)
    return copysign(select(a < 2.0**-28, a, y), x)


def sinh_f64(x):
    """sinh(x) = (m + m / (m + 1)) / 2 with m = expm1(abs(x))."""
    a = fabs(x)
    # a quarter of the result, as its factor 2^(n - 2) does not overflow before it does
    t, r = _exp_reduce(select(a > 710.5, 710.5, a))
    s = _power_of_two(t, -2)
    q = fma(s, _expm1_poly(r), s - 0.25)
    w = q / fma(4.0, q, 1.0)
    y = select(a < 0.6, fma(-4.0 * q, w, q + q), q + w)
    return copysign(select(a < 2.0**-28, a, y + y), x)


def cosh_f64(x):
    """cosh(x) = (y + 1 / y) / 2 with y = exp(abs(x))."""
    a = fabs(x)
    t, r = _exp_reduce(select(a > 710.5, 710.5, a))
    q = _power_of_two(t, -2) * (_expm1_poly(r) + 1.0)
    q = q + 0.0625 / q
    return q + q


def log_f64(x):
    """log(x): x = 2^e (1 + f), log(1 + f) by its series in f / (2 + f) (as fdlibm does)."""
    e, f = _log_split(x)
    return _log_ends(x, _log_sum(e, f))


def log2_f64(x):
    """log2(x), exact at powers of two."""
    e, f = _log_split(x)
    return _log_ends(x, fma(f - _log_sub(f), LOG2_E, e))


def log10_f64(x):
    """log10(x)."""
    e, f = _log_split(x)
    return _log_ends(x, fma(e, LOG10_2_HI, fma(f - _log_sub(f), LOG10_E, e * LOG10_2_LO)))


def log1p_f64(x):
    """log(1 + x): k from 1 + x as rounded, f = (1 + x) / 2^k - 1 from x with one rounding."""
    i = bits64(x + 1.0) - SQRT_HALF_BITS
    k = i >> 52
    h = float64_from_bits((1025 - k) << 52)
    f = fma(0.25 * x, h, fma(0.25, h, -1.0))
    r = select(fabs(x) < 2.0**-54, x, _log_sum(_to_float(k), f))
    return _log_ends(x + 1.0, r)


def sin_f64(x):
    """sin(x) for abs(x) <= TRIG_LIMIT."""
    t, r = _trig_reduce(x)
    return select(fabs(x) < 2.0**-28, x, _sin_cos(r, bits64(t)))


def cos_f64(x):
    """cos(x) for abs(x) <= TRIG_LIMIT."""
    t, r = _trig_reduce(x)
    return _sin_cos(r, bits64(t) + 1)


def tan_f64(x):
    """tan(x) for abs(x) <= TRIG_LIMIT: polynomial in r, or -1 over it in odd quadrants."""
    t, r = _trig_reduce(x)
    z = r * r
    y = fma(r * z, poly(z, TAN_Q), r)
    y = select((bits64(t) & 1) == 0, y, -1.0 / y)
    return select(fabs(x) < 2.0**-28, x, y)


def asin_f64(x):
    """asin(x): a polynomial, or from pi/2 - 2 asin(sqrt((1 - x) / 2)) for large x."""
    a = fabs(x)
    big = a > 0.5
    z = select(big, fma(-0.5, a, 0.5), a * a)
    s = select(big, sqrt(z), a)
    w = fma(s * z, poly(z, ASIN_Q), s)
    return copysign(select(big, PIO2 + fma(-2.0, w, PIO2_LO), w), x)


def acos_f64(x):
    """acos(x), by the polynomial of asin."""
    a = fabs(x)
    big = a > 0.5
    z = select(big, fma(-0.5, a, 0.5), a * a)
    s = select(big, sqrt(z), a)
    w = copysign(fma(s * z, poly(z, ASIN_Q), s), x)
    near_one = x > 0.5
    r = select(near_one, 0.0, PIO2) + (select(near_one, 0.0, PIO2_LO) + select(big, w, -w))
    return select(big, r + r, r)


def atan_f64(x):
    """atan(x), reduced to abs(s) < tan(pi/8) by the addition theorem."""
    a = fabs(x)
    big = a > 2.414213562373095
    small = a < 0.4142135623730951
    over = select(big, -1.0, select(small, a, a - 1.0))
    under = select(big, a, select(small, 1.0, a + 1.0))
    base = select(big, PIO2, select(small, 0.0, PIO4))
    base_lo = select(big, PIO2_LO, select(small, 0.0, PIO4_LO))
    s = over / under
    z = s * s
    return copysign(base + (base_lo + fma(s * z, poly(z, ATAN_Q), s)), x)


def erfc_f64(x):
    """erfc(x) = exp(-a^2) F(t) / (1 + a), a = abs(x); 2 minus that for x < 0."""
    a = fabs(x)
    a = select(a > 27.3, 27.3, a)
    t = (a - ERFC_CENTRE) / (a + ERFC_CENTRE)
    # q = 1 / (1 + a); what rounding took off, relative to q, goes into the exponent below
    w = a + 1.0
    q = 1.0 / w
    q_rest = fma((w - 1.0) - a, q, fma(-w, q, 1.0))
    c = fma(t, poly(t, ERFC_Q), ERFC_Q0) * q
    # likewise for a * a
    s = a * a
    t, r = _exp_reduce(-s)
    r = r - (fma(a, a, -s) - q_rest)
    y = _scale(fma(c, _expm1_poly(r), c), t)
    return select(x < 0.0, 2.0 - y, y)


def erf_f64(x):
    """erf(x) = -expm1(log(erfc(abs(x)))), with one polynomial for that logarithm."""
    a = fabs(x)
    a = select(a > 6.0, 6.0, a)
    t, r = _exp_reduce(fma(-a, ERF_Q0, -a * poly(a, ERF_Q)))
    s = _power_of_two(t, 0)
    return copysign(fma(-s, _expm1_poly(r), 1.0 - s), x)


@helper
def _log_twice(a):
    """Return log(a) as an unevaluated sum to about 2^-66, for 0 < a < inf."""
    e, f = _log_split(a)
    # s + sl = f / (2 + f), with one division
    d = 2.0 + f
    q = 1.0 / d
    s = f * q
    sl = fma(-s, f - (d - 2.0), fma(-s, d, f)) * q
    # log(1 + f) = 2 s + s z (2/3 + z R(z)), z = s^2
    z = s * s
    zl = fma(s, s, -z) + 2.0 * s * sl
    u = z * poly(z, POW_LOG_Q)
    p = TWO_THIRDS + u
    pl = (TWO_THIRDS - p) + u + TWO_THIRDS_LO
    w = z * p
    wl = fma(z, p, -w) + fma(z, pl, zl * p)
    v = s * w
    vl = fma(s, w, -v) + fma(s, wl, sl * w)
    h = 2.0 * s + v
    low = (2.0 * s - h) + v + fma(2.0, sl, vl)
    # e * LN2_HI is exact
    hi = fma(e, LN2_HI, h)
    return hi, (e * LN2_HI - hi) + h + fma(e, LN2_LO, low)


def pow_f64(x, y):
    """x^y = exp(y log(x)) with a logarithm of 66 bits; the special cases of C99."""
    a = fabs(x)
    hi, lo = _log_twice(a)
    hi = select(a < INF, hi, a)
    hi = select(a == 0.0, -INF, hi)
    w = y * hi
    wl = select(fabs(w) < 800.0, fma(y, hi, -w) + y * lo, 0.0)
    t, r = _exp_reduce(_clamp(w, -800.0, 800.0))
    r = r + wl
    z = _scale(_expm1_poly(r) + 1.0, t)
    whole = rint(y) == y
    odd = whole & (rint(0.5 * y) != 0.5 * y)
    z = select(odd, copysign(z, x), z)
    z = select((x < 0.0) & (x > -INF) & (rint(y) != y), NAN, z)
    return select((x == 1.0) | (y == 0.0) | ((x == -1.0) & (fabs(y) == INF)), 1.0, z)
