package denizen.conformance;

import static denizen.conformance.Mismatch.holds;

import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.text.ParseException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** What every case knows: dev.json, the applications that were registered, the person, and who signs tokens. */
final class Known {
    final String authority;
    final String tenant;
    final String user;
    final URI redirect;
    final String scope;
    private final Map<String, Object> applications;
    private final JWKSource<SecurityContext> keys;

    Known() throws IOException, ParseException {
        Map<String, Object> dev = json("DENIZEN_DEV_JSON");
        applications = json("DENIZEN_APPLICATIONS");
        tenant = JSONObjectUtils.getString(dev, "tenant_id");
        authority = JSONObjectUtils.getString(dev, "authority") + "/" + tenant;
        user = JSONObjectUtils.getString(JSONObjectUtils.getJSONObject(dev, "user"), "name");
        redirect = URI.create(JSONObjectUtils.getString(applications, "redirect_uri"));
        scope = JSONObjectUtils.getString(applications, "scope");
        keys = JWKSourceBuilder.create(URI.create(authority + "/discovery/v2.0/keys").toURL()).build();
    }

    private static Map<String, Object> json(String variable) throws IOException, ParseException {
        return JSONObjectUtils.parse(Files.readString(Path.of(System.getenv(variable))));
    }

    /** A property of a registered application. */
    String of(String application, String property) throws ParseException {
        return JSONObjectUtils.getString(JSONObjectUtils.getJSONObject(applications, application), property);
    }

    /** The claims of a token that one of the published keys has signed. */
    JWTClaimsSet claims(String token, String audience) throws Exception {
        DefaultJWTProcessor<SecurityContext> processor = new DefaultJWTProcessor<>();
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.RS256, keys));
        processor.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(audience, null, Set.of("exp", "nbf")));
        return processor.process(token, null);
    }

    JWTClaimsSet ofTheUser(String token, String audience) throws Exception {
        JWTClaimsSet said = claims(token, audience);
        boolean is = "user".equals(said.getStringClaim("idtyp")) && user.equals(said.getStringClaim("upn"));
        holds("it is about " + said, is);
        return said;
    }

    void isTheApplication(String token, String audience) throws Exception {
        JWTClaimsSet said = claims(token, audience);
        String application = of("orders", "client_id");
        boolean is = "app".equals(said.getStringClaim("idtyp")) && application.equals(said.getStringClaim("appid"));
        holds("it is about " + said, is);
    }

    /** What a person does on the pages. */
    String act(String... words) throws Exception {
        List<String> command = new ArrayList<>(List.of(System.getenv("DENIZEN_PERSON")));
        command.addAll(List.of(words));
        Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
        holds("the person is stuck: " + said, process.waitFor() == 0);
        return said;
    }

    X509Certificate certificate(String name) throws Exception {
        try (var text = Files.newInputStream(file(name + ".crt"))) {
            return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(text);
        }
    }

    PrivateKey privateKey(String name) throws Exception {
        String text = Files.readString(file(name + ".key")).replaceAll("-----[A-Z ]+-----", "");
        byte[] der = Base64.getMimeDecoder().decode(text);
        return KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(der));
    }

    private static Path file(String name) {
        return Path.of(System.getenv("DENIZEN_CERTIFICATES"), name);
    }
}
