package denizen.conformance;

/** What does not hold. */
final class Mismatch extends Exception {
    private static final long serialVersionUID = 1L;

    Mismatch(String what) {
        super(what);
    }

    static void holds(String what, boolean is) throws Mismatch {
        if (!is) {
            throw new Mismatch(what);
        }
    }
}
