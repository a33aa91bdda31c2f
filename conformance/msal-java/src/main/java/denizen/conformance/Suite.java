package denizen.conformance;

import java.util.Map;

/**
 * People and applications by MSAL for Java, unmodified; their tokens are looked at by Nimbus.
 *
 * <p>{@code Suite CASE} exits 0 when everything held, 1 when something did not, which it says in one line.
 */
final class Suite {
    private Suite() {}

    private interface Case {
        void run() throws Exception;
    }

    public static void main(String[] words) throws Exception {
        People people = new People(new Known());
        Map<String, Case> cases = Map.of(
                "code", people::code,
                "verifier", people::verifier,
                "device", people::device,
                "secret", people::secret,
                "certificate", people::certificate,
                "on-behalf-of", people::onBehalfOf);
        int code = 0;
        try {
            cases.get(words[0]).run();
        } catch (Exception error) {
            System.out.println(error.toString().replaceAll("\\s+", " "));
            code = 1;
        }
        // The client's threads would keep the process for a minute.
        System.exit(code);
    }
}
