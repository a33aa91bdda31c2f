package denizen.conformance;

import com.azure.core.credential.AccessToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Base64;

/** What the server promised: dev.json, the vault's address, and the claims a token must carry. */
record Contract(String tenantId, String clientId, String principalId, String resourceId, String secretName,
                String secretValue, String vaultUrl) {

    private static final ObjectMapper JSON = new ObjectMapper();
    /** An SDK treats a token with less left than this, in seconds, as over. */
    private static final long MARGIN = 300;

    static Contract load() throws IOException, Failure {
        JsonNode dev = JSON.readTree(Path.of(variable("DENIZEN_DEV_JSON")).toFile());
        return new Contract(
            field(dev, "/tenant_id"),
            field(dev, "/machine/client_id"),
            field(dev, "/machine/principal_id"),
            field(dev, "/machine/resource_id"),
            field(dev, "/secret/name"),
            field(dev, "/secret/value"),
            variable("DENIZEN_VAULT_URL"));
    }

    static String variable(String name) throws Failure {
        String value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            throw new Failure(name + " is not set");
        }
        return value;
    }

    private static String field(JsonNode dev, String pointer) throws Failure {
        String value = dev.at(pointer).asText();
        if (value.isEmpty()) {
            throw new Failure("dev.json has no " + pointer);
        }
        return value;
    }

    /**
     * Whether the vault's host is {@code localhost}, the one host for which the client's own check of the challenge
     * is switched off: no challenge can satisfy it, since the host must be a name below the resource's.
     */
    boolean isLocalhost() {
        return "localhost".equals(URI.create(vaultUrl).getHost());
    }

    /** Checks the claims, and what the SDK was told about the end of the token. */
    String checkToken(AccessToken token, String audience) throws Failure, IOException {
        String[] parts = token.getToken().split("\\.", -1);
        if (parts.length != 3 || parts[2].isEmpty()) {
            throw new Failure("a token of " + parts.length + " parts is no signed JWT");
        }
        JsonNode claims = JSON.readTree(Base64.getUrlDecoder().decode(parts[1]));
        Failure.unlessSame("claim oid", claims.path("oid").asText(), principalId);
        Failure.unlessSame("claim appid", claims.path("appid").asText(), clientId);
        Failure.unlessSame("claim tid", claims.path("tid").asText(), tenantId);
        Failure.unlessSame("claim aud", claims.path("aud").asText(), audience);
        long now = Instant.now().getEpochSecond();
        long exp = claims.path("exp").asLong();
        if (exp <= now + MARGIN) {
            throw new Failure("the token ends in " + (exp - now) + " s");
        }
        long told = token.getExpiresAt().toEpochSecond();
        if (told <= now + MARGIN || told > exp + 1) {
            throw new Failure("the SDK was told " + told + ", the token says exp " + exp);
        }
        return "token for " + (exp - now) + " s";
    }
}
