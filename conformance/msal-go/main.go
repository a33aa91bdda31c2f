// People and applications by MSAL for Go, unmodified, against running processes; their tokens are looked at by go-oidc.
//
//	suite CASE
//
// Exits 0 when everything held, 1 when something did not, which it says in one line.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	msal "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"
	"github.com/coreos/go-oidc/v3/oidc"
)

const (
	azureCLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	arm      = "https://management.azure.com"
	vault    = "https://vault.azure.net"
	storage  = "https://storage.azure.com"
	// Above what a case takes, and below the caller's patience.
	caseLimit = 50 * time.Second
	// Text that this client does not make itself.
	verifierText = "a-verifier-of-the-suite-which-is-long-enough"
	stateText    = "a state"
)

func main() {
	s, err := newSuite()
	if err != nil {
		fmt.Println(err)
		os.Exit(64)
	}
	cases := map[string]func(context.Context) error{
		"interactive": s.interactive, "code": s.code, "verifier": s.verifier, "device": s.device, "secret": s.secret,
		"certificate": s.certificate, "on-behalf-of": s.onBehalfOf,
	}
	run := cases[strings.Join(os.Args[1:], " ")]
	if run == nil {
		fmt.Println("no such case")
		os.Exit(64)
	}
	ctx, cancel := context.WithTimeout(context.Background(), caseLimit)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Println(strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
}

type suite struct {
	dev struct {
		Authority string
		TenantID  string `json:"tenant_id"`
		User      struct{ Name string }
	}
	applications struct {
		RedirectURI string `json:"redirect_uri"`
		Scope       string
		Orders      application
		Program     application
	}
	person, certificates string
	authority            string
	keys                 oidc.KeySet
}

type application struct {
	ClientID string `json:"client_id"`
	Secret   string
}

func newSuite() (*suite, error) {
	s := &suite{person: os.Getenv("DENIZEN_PERSON"), certificates: os.Getenv("DENIZEN_CERTIFICATES")}
	for name, into := range map[string]any{"DENIZEN_DEV_JSON": &s.dev, "DENIZEN_APPLICATIONS": &s.applications} {
		text, err := os.ReadFile(os.Getenv(name))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, into); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	s.authority = s.dev.Authority + "/" + s.dev.TenantID
	s.keys = oidc.NewRemoteKeySet(context.Background(), s.authority+"/discovery/v2.0/keys")
	return s, nil
}

// claims of an access token.
type claims struct {
	Audience string `json:"aud"`
	AppID    string `json:"appid"`
	Type     string `json:"idtyp"`
	Name     string `json:"upn"`
	Scopes   string `json:"scp"`
}

// accessToken is that of a token that one of the published keys has signed.
func (s *suite) accessToken(ctx context.Context, token string) (claims, error) {
	var said claims
	text, err := s.keys.VerifySignature(ctx, token)
	if err != nil {
		return said, err
	}
	return said, json.Unmarshal(text, &said)
}

func (s *suite) isTheUser(ctx context.Context, token, audience string) (claims, error) {
	said, err := s.accessToken(ctx, token)
	if err == nil && (said.Type != "user" || said.Name != s.dev.User.Name || said.Audience != audience) {
		err = fmt.Errorf("it is about %+v", said)
	}
	return said, err
}

func (s *suite) isTheApplication(ctx context.Context, token, audience string) error {
	said, err := s.accessToken(ctx, token)
	if err == nil && (said.Type != "app" || said.AppID != s.applications.Orders.ClientID || said.Audience != audience) {
		err = fmt.Errorf("it is about %+v", said)
	}
	return err
}

// idToken looks at one as a program does that knows nothing of Microsoft: by discovery.
func (s *suite) idToken(ctx context.Context, token, clientID string) error {
	provider, err := oidc.NewProvider(ctx, s.authority+"/v2.0")
	if err != nil {
		return err
	}
	verified, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: clientID}).Verify(ctx, token)
	if err != nil {
		return err
	}
	var said struct {
		Name string `json:"preferred_username"`
	}
	if err := verified.Claims(&said); err != nil {
		return err
	}
	if said.Name != s.dev.User.Name {
		return fmt.Errorf("the id token is about %s", said.Name)
	}
	return nil
}

// act is what a person does on the pages.
func (s *suite) act(ctx context.Context, words ...string) (string, error) {
	said, err := exec.CommandContext(ctx, s.person, words...).Output()
	if err != nil {
		return "", fmt.Errorf("the person is stuck: %s: %w", said, err)
	}
	return strings.TrimSpace(string(said)), nil
}

// codeOf sends a person to what AuthCodeURL gave, which has no option for the challenge and the state.
func (s *suite) codeOf(ctx context.Context, authURL string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	asked, err := url.Parse(authURL)
	if err != nil {
		return "", err
	}
	query := asked.Query()
	query.Set("state", stateText)
	challenge := sha256.Sum256([]byte(verifierText))
	query.Set("code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:]))
	query.Set("code_challenge_method", "S256")
	asked.RawQuery = query.Encode()
	end, err := s.act(ctx, "open", asked.String())
	if err != nil {
		return "", err
	}
	back, err := url.Parse(end)
	if err != nil {
		return "", err
	}
	brought := back.Query()
	if brought.Get("state") != stateText || brought.Get("iss") != s.authority+"/v2.0" || brought.Get("code") == "" {
		return "", fmt.Errorf("the pages end with %s", end)
	}
	return brought.Get("code"), nil
}

// refused is nil when a call failed because the token service said this.
func refused(what string, err error, words ...string) error {
	if err == nil {
		return fmt.Errorf("%s was not refused", what)
	}
	var call msal.CallErr
	if !errors.As(err, &call) {
		return fmt.Errorf("%s was refused otherwise: %w", what, err)
	}
	for _, word := range words {
		if !strings.Contains(call.Error()+call.Verbose(), word) {
			return fmt.Errorf("%s: no %s in: %w", what, word, err)
		}
	}
	return nil
}
