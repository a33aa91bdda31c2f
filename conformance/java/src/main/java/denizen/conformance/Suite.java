package denizen.conformance;

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import java.time.Duration;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Conformance of azure-identity and azure-security-keyvault-secrets, unmodified, against running processes.
 *
 * <p>The caller ({@code run}) sets the environment of exactly one dialect, so that the SDK chooses its source by the
 * documented variables alone. Reads that environment and dev.json, talks to the endpoints named there and appends to
 * DENIZEN_RESULTS.
 */
public final class Suite {
    private static final String VAULT = "https://vault.azure.net";
    private static final String MANAGEMENT = "https://management.azure.com";
    /** An identity no machine has. */
    private static final String UNKNOWN = "00000000-dead-4bad-8bad-000000000000";
    /** A refusal must be quick: a client that retries it for a minute hangs the program that asked. */
    private static final Duration REFUSAL_LIMIT = Duration.ofSeconds(10);
    /** Far above what a case takes; below it a hang would look like a slow machine. */
    private static final Duration CASE_LIMIT = Duration.ofSeconds(90);

    private final Contract contract;
    private final String dialect;

    private Suite(Contract contract, String dialect) {
        this.contract = contract;
        this.dialect = dialect;
    }

    /** Arguments: the dialect, and what to add to each case's name. */
    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 1) {
            System.err.println("usage: Suite arc|app-service|imds [SUFFIX]");
            System.exit(64);
        }
        String suffix = String.join(" ", Arrays.copyOfRange(arguments, 1, arguments.length));
        Report report = new Report(arguments[0]);
        new Suite(Contract.load(), arguments[0]).run(report, suffix.isEmpty() ? "" : " " + suffix);
        // The SDK's transport keeps threads of its own.
        System.exit(report.code());
    }

    private void run(Report report, String suffix) {
        ExecutorService worker = Executors.newCachedThreadPool();
        cases().forEach((name, body) -> {
            Future<String> answer = worker.submit(body);
            try {
                report.add(name + suffix, "ok", answer.get(CASE_LIMIT.toSeconds(), TimeUnit.SECONDS));
            } catch (ExecutionException error) {
                report.add(name + suffix, "fail", chain(error.getCause()));
            } catch (TimeoutException error) {
                answer.cancel(true);
                report.add(name + suffix, "fail", "no answer within " + CASE_LIMIT.toSeconds() + " s");
            } catch (InterruptedException error) {
                report.add(name + suffix, "fail", "interrupted");
            }
        });
    }

    private Map<String, Callable<String>> cases() {
        Map<String, Callable<String>> cases = new LinkedHashMap<>();
        cases.put("ManagedIdentityCredential", () -> whole(managed().build(), "mic"));
        cases.put("DefaultAzureCredential", () -> whole(new DefaultAzureCredentialBuilder().build(), "dac"));
        cases.put("DefaultAzureCredential with client id", () -> userAssigned(
            new DefaultAzureCredentialBuilder().managedIdentityClientId(contract.clientId()).build()));
        cases.put("own client_id", () -> userAssigned(managed().clientId(contract.clientId()).build()));
        cases.put("own object_id", () -> userAssigned(managed().objectId(contract.principalId()).build()));
        cases.put("own resource_id", () -> userAssigned(managed().resourceId(contract.resourceId()).build()));
        cases.put("unknown client_id is refused", this::unknown);
        cases.put("token of another resource is refused", this::foreignAudience);
        cases.put("disallowed secret name is refused", () -> new Vault(contract, managed().build()).refusesName());
        return cases;
    }

    private static ManagedIdentityCredentialBuilder managed() {
        return new ManagedIdentityCredentialBuilder();
    }

    /** A token twice, then one secret's whole life. */
    private String whole(TokenCredential credential, String label) throws Exception {
        contract.checkToken(token(credential, VAULT), VAULT);
        contract.checkToken(token(credential, VAULT), VAULT);
        return new Vault(contract, credential).exercise(dialect + "-" + label);
    }

    private static AccessToken token(TokenCredential credential, String resource) {
        return credential.getTokenSync(new TokenRequestContext().addScopes(resource + "/.default"));
    }

    private String userAssigned(TokenCredential credential) throws Exception {
        return contract.checkToken(token(credential, VAULT), VAULT);
    }

    private String unknown() throws Exception {
        long start = System.nanoTime();
        try {
            token(managed().clientId(UNKNOWN).build(), VAULT);
        } catch (RuntimeException error) {
            long seconds = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - start);
            if (seconds >= REFUSAL_LIMIT.toSeconds()) {
                throw new Failure("refused only after " + seconds + " s");
            }
            // A dead endpoint refuses everybody; only an answer about the identity counts.
            if (!chain(error).toLowerCase().contains("identity not found")) {
                throw new Failure("refused for another reason: " + chain(error));
            }
            return "refused";
        }
        throw new Failure("a token was issued for an identity this machine does not have");
    }

    /** Our own token for Resource Manager opens no vault. */
    private String foreignAudience() throws Exception {
        AccessToken token = token(managed().build(), MANAGEMENT);
        contract.checkToken(token, MANAGEMENT);
        return Vault.refusesToken(contract, token);
    }

    /** An error with all its causes. */
    private static String chain(Throwable error) {
        StringBuilder text = new StringBuilder(error.getClass().getSimpleName() + ": " + error.getMessage());
        for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
            if (cause.getMessage() != null && text.indexOf(cause.getMessage()) < 0) {
                text.append(": ").append(cause.getMessage());
            }
        }
        return text.toString();
    }
}
