package denizen.conformance;

/** What the server did wrong, in one sentence. */
final class Failure extends Exception {
    private static final long serialVersionUID = 1;

    Failure(String message) {
        super(message);
    }

    /** Throws unless the two are equal. */
    static void unlessSame(String what, Object found, Object expected) throws Failure {
        if (!expected.equals(found)) {
            throw new Failure(what + " is \"" + found + "\", expected \"" + expected + "\"");
        }
    }
}
