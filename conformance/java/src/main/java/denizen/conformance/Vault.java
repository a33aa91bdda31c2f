package denizen.conformance;

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.exception.HttpResponseException;
import com.azure.core.exception.ResourceNotFoundException;
import com.azure.security.keyvault.secrets.SecretClient;
import com.azure.security.keyvault.secrets.SecretClientBuilder;
import com.azure.security.keyvault.secrets.models.DeletedSecret;
import com.azure.security.keyvault.secrets.models.KeyVaultSecret;
import com.azure.security.keyvault.secrets.models.SecretProperties;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import reactor.core.publisher.Mono;

/** One secret's whole life through SecretClient, and what the vault must refuse. */
final class Vault {
    private static final String FIRST = "first value: ünïcode, \"quotes\" and\nlines";
    private static final String SECOND = "second value";
    /** The poller asks every two seconds; a delete is done at once. */
    private static final Duration DELETE_LIMIT = Duration.ofSeconds(20);

    private final Contract contract;
    private final SecretClient client;

    Vault(Contract contract, TokenCredential credential) {
        this.contract = contract;
        SecretClientBuilder builder = new SecretClientBuilder().vaultUrl(contract.vaultUrl()).credential(credential);
        if (contract.isLocalhost()) {
            builder.disableChallengeResourceVerification();
        }
        this.client = builder.buildClient();
    }

    /** Reads the seeded secret, then sets, gets, updates, lists and deletes one of its own. */
    String exercise(String label) throws Failure {
        Failure.unlessSame("value of the seeded secret", client.getSecret(contract.secretName()).getValue(),
            contract.secretValue());

        // New each run: a deleted name stays reserved.
        String name = "conformance-java-" + label + "-" + Long.toHexString(Instant.now().getEpochSecond()) + "-"
            + Long.toHexString(ProcessHandle.current().pid());
        String first = set(name, FIRST);
        String second = set(name, SECOND);
        if (first.equals(second)) {
            throw new Failure("two sets gave one version");
        }
        expect(client.getSecret(name), name, second, SECOND, "text/plain", "set");
        expect(client.getSecret(name, first), name, first, FIRST, "text/plain", "set");

        SecretProperties properties = client.getSecret(name).getProperties();
        properties.setContentType("application/json").setTags(Map.of("state", "updated"));
        client.updateSecretProperties(properties);
        expect(client.getSecret(name), name, second, SECOND, "application/json", "updated");

        list(name, contract.secretName());
        Set<String> versions = client.listPropertiesOfSecretVersions(name).stream()
            .map(SecretProperties::getVersion).collect(Collectors.toSet());
        Failure.unlessSame("versions", versions, Set.of(first, second));

        DeletedSecret deleted = client.beginDeleteSecret(name).waitForCompletion(DELETE_LIMIT).getValue();
        Failure.unlessSame("name of the deleted secret", deleted.getName(), name);
        try {
            client.getSecret(name);
        } catch (ResourceNotFoundException error) {
            refusal(error, 404, "SecretNotFound");
            return "token, set, get, update, list, versions, delete";
        }
        throw new Failure("get after delete still answers");
    }

    private String set(String name, String value) throws Failure {
        KeyVaultSecret secret = new KeyVaultSecret(name, value);
        secret.setProperties(new SecretProperties().setContentType("text/plain").setTags(Map.of("state", "set")));
        KeyVaultSecret stored = client.setSecret(secret);
        expect(stored, name, stored.getProperties().getVersion(), value, "text/plain", "set");
        return stored.getProperties().getVersion();
    }

    private static void expect(KeyVaultSecret found, String name, String version, String value, String contentType,
                               String tag) throws Failure {
        SecretProperties properties = found.getProperties();
        Failure.unlessSame("name", found.getName(), name);
        Failure.unlessSame("version", properties.getVersion(), version);
        Failure.unlessSame("value", found.getValue(), value);
        Failure.unlessSame("content type", properties.getContentType(), contentType);
        Failure.unlessSame("tags", properties.getTags(), Map.of("state", tag));
    }

    private void list(String... expected) throws Failure {
        for (String name : expected) {
            long count = client.listPropertiesOfSecrets().stream().filter(item -> item.getName().equals(name)).count();
            if (count != 1) {
                throw new Failure("the list names " + name + " " + count + " times");
            }
        }
    }

    /** A name outside the documented alphabet is the caller's mistake: 400, not 404 and not 500. */
    String refusesName() throws Failure {
        try {
            client.setSecret("under_score", "x");
        } catch (HttpResponseException error) {
            return refusal(error, 400, "BadParameter");
        }
        throw new Failure("the vault took a secret named under_score");
    }

    /** The vault must turn away a token that was made for another resource. */
    static String refusesToken(Contract contract, AccessToken token) throws Failure {
        Vault vault = new Vault(contract, request -> Mono.just(token));
        try {
            vault.client.getSecret(contract.secretName());
        } catch (HttpResponseException error) {
            return refusal(error, 401, "Unauthorized");
        }
        throw new Failure("the vault took a token made for another resource");
    }

    private static String refusal(HttpResponseException error, int status, String code) throws Failure {
        if (error.getResponse() == null || error.getResponse().getStatusCode() != status
            || !error.getMessage().contains(code)) {
            throw new Failure("expected " + status + " " + code + ", got " + error.getMessage());
        }
        return status + " " + code;
    }
}
