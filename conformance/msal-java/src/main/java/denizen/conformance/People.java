package denizen.conformance;

import static denizen.conformance.Mismatch.holds;

import com.microsoft.aad.msal4j.AbstractClientApplicationBase;
import com.microsoft.aad.msal4j.AuthorizationCodeParameters;
import com.microsoft.aad.msal4j.AuthorizationRequestUrlParameters;
import com.microsoft.aad.msal4j.ClientCredentialFactory;
import com.microsoft.aad.msal4j.ClientCredentialParameters;
import com.microsoft.aad.msal4j.ConfidentialClientApplication;
import com.microsoft.aad.msal4j.DeviceCodeFlowParameters;
import com.microsoft.aad.msal4j.IAuthenticationResult;
import com.microsoft.aad.msal4j.IClientCredential;
import com.microsoft.aad.msal4j.MsalInteractionRequiredException;
import com.microsoft.aad.msal4j.MsalServiceException;
import com.microsoft.aad.msal4j.OnBehalfOfParameters;
import com.microsoft.aad.msal4j.PublicClientApplication;
import com.microsoft.aad.msal4j.ResponseMode;
import com.microsoft.aad.msal4j.SilentParameters;
import com.microsoft.aad.msal4j.TokenSource;
import com.microsoft.aad.msal4j.UserAssertion;
import com.nimbusds.jwt.JWTClaimsSet;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;

/** The cases. */
final class People {
    private static final String AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
    private static final String ARM = "https://management.azure.com";
    private static final String VAULT = "https://vault.azure.net";
    private static final String STORAGE = "https://storage.azure.com";
    /** The client makes neither this nor its challenge. */
    private static final String VERIFIER = "a-verifier-of-the-suite-which-is-long-enough";

    private final Known known;

    People(Known known) {
        this.known = known;
    }

    private static Set<String> scopes(String resource) {
        return Set.of(resource + "/.default");
    }

    /** Instance discovery would ask Microsoft whether the authority is one of its clouds. */
    private PublicClientApplication publicClient(String clientId) throws Exception {
        return PublicClientApplication.builder(clientId).authority(known.authority).instanceDiscovery(false).build();
    }

    private ConfidentialClientApplication orders(IClientCredential credential) throws Exception {
        return ConfidentialClientApplication.builder(known.of("orders", "client_id"), credential)
                .authority(known.authority)
                .instanceDiscovery(false)
                .build();
    }

    private ConfidentialClientApplication ordersBySecret() throws Exception {
        return orders(ClientCredentialFactory.createFromSecret(known.of("orders", "secret")));
    }

    private ConfidentialClientApplication ordersByCertificate(String certificate, String key) throws Exception {
        return orders(
                ClientCredentialFactory.createFromCertificate(known.privateKey(key), known.certificate(certificate)));
    }

    /** The error of a call that must fail, which says all these words. */
    private static MsalServiceException refused(String what, CompletableFuture<?> call, String... words)
            throws Exception {
        try {
            call.get();
        } catch (ExecutionException error) {
            holds(what + " was refused otherwise: " + error, error.getCause() instanceof MsalServiceException);
            MsalServiceException said = (MsalServiceException) error.getCause();
            String text = said.errorCode() + " " + said.getMessage();
            for (String word : words) {
                holds(what + ": no " + word + " in: " + text, text.contains(word));
            }
            return said;
        }
        throw new Mismatch(what + " was not refused");
    }

    /** The code that a person's browser brings back. */
    private String codeFor(AbstractClientApplicationBase app, Set<String> scopes) throws Exception {
        byte[] sum = MessageDigest.getInstance("SHA-256").digest(VERIFIER.getBytes(StandardCharsets.US_ASCII));
        var asked = AuthorizationRequestUrlParameters.builder(known.redirect.toString(), scopes)
                .responseMode(ResponseMode.QUERY)
                .state("a state")
                .nonce("a nonce")
                .codeChallenge(Base64.getUrlEncoder().withoutPadding().encodeToString(sum))
                .codeChallengeMethod("S256")
                .build();
        String end = known.act("open", app.getAuthorizationRequestUrl(asked).toString());
        Map<String, String> brought = Arrays.stream(end.substring(end.indexOf('?') + 1).split("&"))
                .map(pair -> pair.split("=", 2))
                .collect(Collectors.toMap(
                        pair -> pair[0],
                        pair -> URLDecoder.decode(pair.length > 1 ? pair[1] : "", StandardCharsets.UTF_8)));
        boolean ours = "a state".equals(brought.get("state")) && (known.authority + "/v2.0").equals(brought.get("iss"));
        holds("the pages end with " + end, ours && brought.containsKey("code"));
        return brought.get("code");
    }

    private CompletableFuture<IAuthenticationResult> redeem(
            AbstractClientApplicationBase app, String code, Set<String> scopes, String verifier) {
        return app.acquireToken(AuthorizationCodeParameters.builder(code, known.redirect)
                .scopes(scopes)
                .codeVerifier(verifier)
                .build());
    }

    private IAuthenticationResult signIn(AbstractClientApplicationBase app, Set<String> scopes) throws Exception {
        return redeem(app, codeFor(app, scopes), scopes, VERIFIER).get();
    }

    /** What came of a person, and what the client keeps of it. */
    private void signedIn(PublicClientApplication app, IAuthenticationResult result) throws Exception {
        known.ofTheUser(result.accessToken(), ARM);
        JWTClaimsSet said = known.claims(result.idToken(), AZURE_CLI);
        holds("the id token is " + said, known.user.equals(said.getStringClaim("preferred_username")));
        holds("its issuer is " + said.getIssuer(), said.getIssuer().equals(known.authority + "/v2.0"));
        holds("the account is " + result.account(), known.user.equals(result.account().username()));
        IAuthenticationResult cached =
                app.acquireTokenSilently(SilentParameters.builder(scopes(ARM), result.account()).build()).get();
        holds("a token that is good was asked for again", cached.metadata().tokenSource() == TokenSource.CACHE);
        // For another resource by the refresh token, and once more by the one that followed it.
        for (boolean again : new boolean[] {false, true}) {
            IAuthenticationResult other = app.acquireTokenSilently(
                            SilentParameters.builder(scopes(VAULT), result.account()).forceRefresh(again).build())
                    .get();
            boolean asked = other.metadata().tokenSource() == TokenSource.IDENTITY_PROVIDER;
            holds("another resource's token was in the cache", asked);
            known.ofTheUser(other.accessToken(), VAULT);
        }
    }

    void code() throws Exception {
        PublicClientApplication app = publicClient(AZURE_CLI);
        String code = codeFor(app, scopes(ARM));
        IAuthenticationResult result = redeem(app, code, scopes(ARM), VERIFIER).get();
        String nonce = known.claims(result.idToken(), AZURE_CLI).getStringClaim("nonce");
        holds("the nonce is " + nonce, "a nonce".equals(nonce));
        signedIn(app, result);
        refused("a code that was redeemed already", redeem(app, code, scopes(ARM), VERIFIER), "invalid_grant");
    }

    void verifier() throws Exception {
        PublicClientApplication app = publicClient(AZURE_CLI);
        String code = codeFor(app, scopes(ARM));
        refused("another's verifier", redeem(app, code, scopes(ARM), VERIFIER + "x"), "invalid_grant", "AADSTS501481");
    }

    void device() throws Exception {
        PublicClientApplication app = publicClient(AZURE_CLI);
        CompletableFuture<String> decided = new CompletableFuture<>();
        IAuthenticationResult result = app.acquireToken(DeviceCodeFlowParameters.builder(
                                scopes(ARM),
                                shown -> decided.completeAsync(() -> decide(shown.userCode(), shown.verificationUri())))
                        .build())
                .get();
        holds(decided.get(), decided.get().isEmpty());
        signedIn(app, result);
    }

    /** What stands in the way of it, or nothing. */
    private String decide(String code, String uri) {
        try {
            return known.act("decide", code, uri);
        } catch (Exception error) {
            return error.toString();
        }
    }

    private CompletableFuture<IAuthenticationResult> own(ConfidentialClientApplication app, String resource) {
        return app.acquireToken(ClientCredentialParameters.builder(scopes(resource)).build());
    }

    private void isTheApplication(ConfidentialClientApplication app) throws Exception {
        known.isTheApplication(own(app, VAULT).get().accessToken(), VAULT);
        TokenSource source = own(app, VAULT).get().metadata().tokenSource();
        holds("a token that is good was asked for again", source == TokenSource.CACHE);
    }

    void secret() throws Exception {
        isTheApplication(ordersBySecret());
        ConfidentialClientApplication wrong = orders(ClientCredentialFactory.createFromSecret("not the secret"));
        refused("a wrong secret", own(wrong, VAULT), "invalid_client", "AADSTS7000215");
    }

    void certificate() throws Exception {
        isTheApplication(ordersByCertificate("own", "own"));
        // A certificate that is nobody's, and a key that is not the certificate's.
        for (String certificate : new String[] {"foreign", "own"}) {
            ConfidentialClientApplication wrong = ordersByCertificate(certificate, "foreign");
            refused("another's key", own(wrong, VAULT), "invalid_client", "AADSTS700027");
        }
    }

    void onBehalfOf() throws Exception {
        String program = known.of("program", "client_id");
        // The person consents on the page.
        IAuthenticationResult result = signIn(publicClient(program), Set.of(known.scope));
        JWTClaimsSet called = known.claims(result.accessToken(), null);
        boolean may = "Orders.Read".equals(called.getStringClaim("scp"));
        holds("it is " + called, may && program.equals(called.getStringClaim("appid")));
        UserAssertion assertion = new UserAssertion(result.accessToken());
        OnBehalfOfParameters asked = OnBehalfOfParameters.builder(scopes(STORAGE), assertion).build();
        MsalServiceException early = refused(
                "what nobody has consented to", ordersBySecret().acquireToken(asked), "invalid_grant", "AADSTS65001");
        holds("it is no matter of consent: " + early, early instanceof MsalInteractionRequiredException
                && "CONSENT_REQUIRED".equals(String.valueOf(((MsalInteractionRequiredException) early).reason())));
        signIn(ordersBySecret(), scopes(STORAGE));
        for (ConfidentialClientApplication by : new ConfidentialClientApplication[] {
            ordersBySecret(), ordersByCertificate("own", "own")
        }) {
            JWTClaimsSet said = known.ofTheUser(by.acquireToken(asked).get().accessToken(), STORAGE);
            String appid = said.getStringClaim("appid");
            holds("it is by " + appid, known.of("orders", "client_id").equals(appid));
        }
        String itself = known.scope.substring(0, known.scope.lastIndexOf('/'));
        UserAssertion wrong = new UserAssertion(own(ordersBySecret(), itself).get().accessToken());
        OnBehalfOfParameters wrongly = OnBehalfOfParameters.builder(scopes(STORAGE), wrong).build();
        refused("an application's own token as a user's", ordersBySecret().acquireToken(wrongly), "AADSTS7000114");
    }
}
