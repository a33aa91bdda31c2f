package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

func scopes(resource string) []string { return []string{resource + "/.default"} }

// publicClient: instance discovery would ask Microsoft whether the authority is one of its clouds.
func (s *suite) publicClient(clientID string) (public.Client, error) {
	return public.New(clientID, public.WithAuthority(s.authority), public.WithInstanceDiscovery(false))
}

func (s *suite) orders(credential confidential.Credential, err error) (confidential.Client, error) {
	if err != nil {
		return confidential.Client{}, err
	}
	offline := confidential.WithInstanceDiscovery(false)
	return confidential.New(s.authority, s.applications.Orders.ClientID, credential, offline)
}

func (s *suite) ordersBySecret() (confidential.Client, error) {
	return s.orders(confidential.NewCredFromSecret(s.applications.Orders.Secret))
}

func (s *suite) ordersByCertificate(certificate, key string) (confidential.Client, error) {
	var pem []byte
	for _, name := range []string{certificate + ".crt", key + ".key"} {
		text, err := os.ReadFile(filepath.Join(s.certificates, name))
		if err != nil {
			return confidential.Client{}, err
		}
		pem = append(pem, text...)
	}
	certificates, private, err := confidential.CertFromPEM(pem, "")
	if err != nil {
		return confidential.Client{}, err
	}
	return s.orders(confidential.NewCredFromCert(certificates, private))
}

// signIn names offline_access itself: AuthCodeURL sends the scopes that it is given and no other.
func (s *suite) signIn(
	ctx context.Context, app public.Client, clientID string, wanted ...string,
) (public.AuthResult, string, error) {
	wanted = append(wanted, "offline_access")
	authURL, err := app.AuthCodeURL(ctx, clientID, s.applications.RedirectURI, wanted)
	code, err := s.codeOf(ctx, authURL, err)
	if err != nil {
		return public.AuthResult{}, "", err
	}
	verifier := public.WithChallenge(verifierText)
	result, err := app.AcquireTokenByAuthCode(ctx, code, s.applications.RedirectURI, wanted, verifier)
	return result, code, err
}

// silently: the cache's token again, and another resource's by the refresh token.
func (s *suite) silently(ctx context.Context, app public.Client, account public.Account) error {
	cached, err := app.AcquireTokenSilent(ctx, scopes(arm), public.WithSilentAccount(account))
	if err != nil {
		return err
	}
	if cached.Metadata.TokenSource != public.TokenSourceCache {
		return errors.New("a token that is good was asked for again")
	}
	// Claims make the client ask again though it has one: by the refresh token that followed the first.
	const again = `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`
	for _, options := range [][]public.AcquireSilentOption{nil, {public.WithClaims(again)}} {
		other, err := app.AcquireTokenSilent(ctx, scopes(vault), append(options, public.WithSilentAccount(account))...)
		if err != nil {
			return err
		}
		if other.Metadata.TokenSource != public.TokenSourceIdentityProvider {
			return errors.New("another resource's token was in the cache")
		}
		if _, err := s.isTheUser(ctx, other.AccessToken, vault); err != nil {
			return err
		}
	}
	return nil
}

// signedIn looks at what came of a person, and at what the client keeps of it.
func (s *suite) signedIn(ctx context.Context, app public.Client, result public.AuthResult) error {
	if _, err := s.isTheUser(ctx, result.AccessToken, arm); err != nil {
		return err
	}
	if err := s.idToken(ctx, result.IDToken.RawToken, azureCLI); err != nil {
		return err
	}
	if result.Account.PreferredUsername != s.dev.User.Name || result.Account.Realm != s.dev.TenantID {
		return fmt.Errorf("the account is %+v", result.Account)
	}
	return s.silently(ctx, app, result.Account)
}

// interactive: the client makes the challenge itself and waits on loopback for the code, which the browser posts.
func (s *suite) interactive(ctx context.Context) error {
	app, err := s.publicClient(azureCLI)
	if err != nil {
		return err
	}
	browser := func(authURL string) error {
		if !strings.Contains(authURL, "code_challenge=") {
			return fmt.Errorf("there is no challenge in %s", authURL)
		}
		end, err := s.act(ctx, "open", authURL)
		if err != nil {
			return err
		}
		action, fields, _ := strings.Cut(end, "?")
		form, err := url.ParseQuery(fields)
		if err != nil {
			return err
		}
		answer, err := http.PostForm(action, form)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	}
	result, err := app.AcquireTokenInteractive(ctx, scopes(arm), public.WithOpenURL(browser))
	if err != nil {
		return err
	}
	return s.signedIn(ctx, app, result)
}

func (s *suite) code(ctx context.Context) error {
	app, err := s.publicClient(azureCLI)
	if err != nil {
		return err
	}
	result, code, err := s.signIn(ctx, app, azureCLI, scopes(arm)...)
	if err != nil {
		return err
	}
	if err := s.signedIn(ctx, app, result); err != nil {
		return err
	}
	verifier := public.WithChallenge(verifierText)
	_, err = app.AcquireTokenByAuthCode(ctx, code, s.applications.RedirectURI, scopes(arm), verifier)
	return refused("a code that was redeemed already", err, "invalid_grant")
}

func (s *suite) verifier(ctx context.Context) error {
	app, err := s.publicClient(azureCLI)
	if err != nil {
		return err
	}
	authURL, err := app.AuthCodeURL(ctx, azureCLI, s.applications.RedirectURI, scopes(arm))
	code, err := s.codeOf(ctx, authURL, err)
	if err != nil {
		return err
	}
	another := public.WithChallenge(strings.ToUpper(verifierText))
	_, err = app.AcquireTokenByAuthCode(ctx, code, s.applications.RedirectURI, scopes(arm), another)
	return refused("another's verifier", err, "AADSTS501481")
}

func (s *suite) device(ctx context.Context) error {
	app, err := s.publicClient(azureCLI)
	if err != nil {
		return err
	}
	shown, err := app.AcquireTokenByDeviceCode(ctx, scopes(arm))
	if err != nil {
		return err
	}
	decided := make(chan error, 1)
	go func() {
		_, err := s.act(ctx, "decide", shown.Result.UserCode, shown.Result.VerificationURL)
		decided <- err
	}()
	result, err := shown.AuthenticationResult(ctx)
	if err := errors.Join(err, <-decided); err != nil {
		return err
	}
	return s.signedIn(ctx, app, result)
}

func (s *suite) applicationOf(ctx context.Context, app confidential.Client, err error) error {
	if err != nil {
		return err
	}
	result, err := app.AcquireTokenByCredential(ctx, scopes(vault))
	if err != nil {
		return err
	}
	if err := s.isTheApplication(ctx, result.AccessToken, vault); err != nil {
		return err
	}
	cached, err := app.AcquireTokenByCredential(ctx, scopes(vault))
	if err == nil && cached.Metadata.TokenSource != confidential.TokenSourceCache {
		err = errors.New("a token that is good was asked for again")
	}
	return err
}

func (s *suite) secret(ctx context.Context) error {
	app, err := s.ordersBySecret()
	if err := s.applicationOf(ctx, app, err); err != nil {
		return err
	}
	wrong, err := s.orders(confidential.NewCredFromSecret("not the secret"))
	if err != nil {
		return err
	}
	_, err = wrong.AcquireTokenByCredential(ctx, scopes(vault))
	return refused("a wrong secret", err, "invalid_client", "AADSTS7000215")
}

func (s *suite) certificate(ctx context.Context) error {
	app, err := s.ordersByCertificate("own", "own")
	if err := s.applicationOf(ctx, app, err); err != nil {
		return err
	}
	foreign, err := s.ordersByCertificate("foreign", "foreign")
	if err != nil {
		return err
	}
	_, err = foreign.AcquireTokenByCredential(ctx, scopes(vault))
	return refused("a certificate that is nobody's", err, "invalid_client", "AADSTS700027")
}

func (s *suite) onBehalfOf(ctx context.Context) error {
	program := s.applications.Program.ClientID
	app, err := s.publicClient(program)
	if err != nil {
		return err
	}
	// The person consents on the page.
	result, _, err := s.signIn(ctx, app, program, s.applications.Scope)
	if err != nil {
		return err
	}
	called, err := s.accessToken(ctx, result.AccessToken)
	if err != nil {
		return err
	}
	if called.Scopes != "Orders.Read" || called.AppID != program {
		return fmt.Errorf("it is %+v", called)
	}
	middle, err := s.ordersBySecret()
	if err != nil {
		return err
	}
	_, err = middle.AcquireTokenOnBehalfOf(ctx, result.AccessToken, scopes(storage))
	err = refused("what nobody has consented to", err, "invalid_grant", "AADSTS65001", "consent_required")
	if err != nil {
		return err
	}
	if err := s.consentTo(ctx, middle, storage); err != nil {
		return err
	}
	certified, err := s.ordersByCertificate("own", "own")
	if err != nil {
		return err
	}
	for _, by := range []confidential.Client{middle, certified} {
		other, err := by.AcquireTokenOnBehalfOf(ctx, result.AccessToken, scopes(storage))
		if err != nil {
			return err
		}
		said, err := s.isTheUser(ctx, other.AccessToken, storage)
		if err != nil {
			return err
		}
		if said.AppID != s.applications.Orders.ClientID {
			return fmt.Errorf("it is by %s", said.AppID)
		}
	}
	mine, err := middle.AcquireTokenByCredential(ctx, scopes(strings.TrimSuffix(s.applications.Scope, "/Orders.Read")))
	if err != nil {
		return err
	}
	_, err = middle.AcquireTokenOnBehalfOf(ctx, mine.AccessToken, scopes(storage))
	return refused("an application's own token as a user's", err, "AADSTS7000114")
}

// consentTo has the person sign in to the API's own pages.
func (s *suite) consentTo(ctx context.Context, app confidential.Client, resource string) error {
	redirect := s.applications.RedirectURI
	authURL, err := app.AuthCodeURL(ctx, s.applications.Orders.ClientID, redirect, scopes(resource))
	code, err := s.codeOf(ctx, authURL, err)
	if err != nil {
		return err
	}
	_, err = app.AcquireTokenByAuthCode(ctx, code, redirect, scopes(resource), confidential.WithChallenge(verifierText))
	return err
}
