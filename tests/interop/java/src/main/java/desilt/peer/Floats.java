package desilt.peer;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;

/** Python's repr of a float64: the shortest decimal text that reads back as the same number. */
final class Floats {
    private static final double PLAIN_INTEGERS = 1e15;
    private static final int UNIQUE_DIGITS = 15;
    private static final int ENOUGH_DIGITS = 17;
    private static final int FIRST_FIXED = -4;
    private static final int FIRST_LARGE = 16;

    private Floats() {}

    static String repr(double value) {
        if (Double.isNaN(value)) {
            return "NaN";
        }
        if (Double.isInfinite(value)) {
            return value > 0 ? "Infinity" : "-Infinity";
        }
        if (value == 0) {
            return 1 / value < 0 ? "-0.0" : "0.0";
        }
        if (value == Math.rint(value) && Math.abs(value) < PLAIN_INTEGERS) {
            return (long) value + ".0";
        }
        return format(shortest(value));
    }

    /**
     * The shortest decimal that reads back as {@code value}, the nearest of them.
     *
     * <p>Double.toString is not used: before Java 19 its answer is not always the shortest.
     */
    private static BigDecimal shortest(double value) {
        BigDecimal exact = new BigDecimal(value);
        // Fifteen digits that read back are the only such decimal of a normal number, so cutting
        // their zeros gives the shortest. Subnormal numbers carry fewer digits: try them all.
        int digits = Math.abs(value) < Double.MIN_NORMAL ? 1 : UNIQUE_DIGITS;
        for (; digits < ENOUGH_DIGITS; digits++) {
            BigDecimal found = nearest(exact, value, digits);
            if (found != null) {
                return found;
            }
        }
        return exact.round(new MathContext(ENOUGH_DIGITS, RoundingMode.HALF_EVEN));
    }

    /** The nearest decimal of that many digits which reads back as {@code value}, or null. */
    private static BigDecimal nearest(BigDecimal exact, double value, int digits) {
        BigDecimal rounded = exact.round(new MathContext(digits, RoundingMode.HALF_EVEN));
        if (rounded.doubleValue() == value) {
            return rounded;
        }
        // Beside a power of two the interval is lopsided: the farther neighbour may be inside it.
        boolean up = rounded.compareTo(exact) < 0;
        RoundingMode other = up ? RoundingMode.CEILING : RoundingMode.FLOOR;
        BigDecimal neighbour = exact.round(new MathContext(digits, other));
        return neighbour.doubleValue() == value ? neighbour : null;
    }

    private static String format(BigDecimal value) {
        BigDecimal stripped = value.stripTrailingZeros();
        String digits = stripped.unscaledValue().abs().toString();
        int exponent = digits.length() - 1 - stripped.scale();
        String sign = stripped.signum() < 0 ? "-" : "";
        if (exponent >= FIRST_FIXED && exponent < FIRST_LARGE) {
            String plain = stripped.abs().toPlainString();
            return sign + (plain.indexOf('.') < 0 ? plain + ".0" : plain);
        }
        String tail = digits.length() > 1 ? "." + digits.substring(1) : "";
        String power = String.format("%02d", Math.abs(exponent));
        return sign + digits.charAt(0) + tail + "e" + (exponent < 0 ? "-" : "+") + power;
    }
}
