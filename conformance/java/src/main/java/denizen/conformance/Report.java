package denizen.conformance;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Properties;

/** Result lines: one for a person on standard output, one for the table in DENIZEN_RESULTS. */
final class Report {
    private static final String CLIENT = "java azure-identity";

    private final Path file;
    private final String dialect;
    private final String version;
    private int failures;
    private int lines;

    Report(String dialect) throws IOException, Failure {
        this.file = Path.of(Contract.variable("DENIZEN_RESULTS"));
        this.dialect = dialect;
        this.version = loadedVersion();
    }

    /** The version of the SDK on the class path, from the file it carries for its own User-Agent. */
    private static String loadedVersion() throws IOException, Failure {
        try (InputStream stream = Report.class.getResourceAsStream("/azure-identity.properties")) {
            if (stream == null) {
                throw new Failure("azure-identity is not on the class path");
            }
            Properties properties = new Properties();
            properties.load(stream);
            return properties.getProperty("version");
        }
    }

    void add(String name, String word, String text) {
        String detail = String.valueOf(text).replaceAll("\\s+", " ").strip();
        if (word.equals("fail")) {
            failures++;
        }
        lines++;
        System.out.printf("%-4s  %s %s  %-11s  %s: %s%n", word, CLIENT, version, dialect, name, detail);
        String line = String.join("\t", CLIENT, version, dialect, name, word, detail) + "\n";
        try {
            Files.writeString(file, line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (IOException error) {
            System.err.println("result file: " + error);
            failures++;
        }
    }

    /** Success needs at least one line: a suite that ran nothing proves nothing. */
    int code() {
        return failures == 0 && lines > 0 ? 0 : 1;
    }
}
