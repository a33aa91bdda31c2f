// Conformance of azidentity and azsecrets for Go, unmodified, against running processes.
//
// The caller (./run) sets the environment of exactly one dialect, so that the SDK chooses its source by the
// documented variables alone. This program reads that environment and dev.json, talks to the endpoints named there
// and appends to DENIZEN_RESULTS. contract.go holds what is expected, vault.go the secret operations.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

const (
	vaultResource      = "https://vault.azure.net"
	managementResource = "https://management.azure.com"
	// An identity no machine has.
	unknownClientID = "00000000-dead-4bad-8bad-000000000000"
	// A refusal must be quick: a client that retries it for a minute hangs the program that asked.
	refusalLimit = 10 * time.Second
	// Far above what a case takes; below it a hang would look like a slow machine.
	caseLimit = 90 * time.Second
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: suite arc|app-service|imds")
		os.Exit(64)
	}
	report, err := openReport(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(64)
	}
	c, err := loadContract()
	if err != nil {
		report.add("ManagedIdentityCredential", "", err)
		os.Exit(report.code())
	}
	s := &suite{c, os.Args[1]}
	for _, one := range s.cases() {
		ctx, cancel := context.WithTimeout(context.Background(), caseLimit)
		detail, err := one.run(ctx)
		cancel()
		report.add(one.name, detail, err)
	}
	os.Exit(report.code())
}

type suite struct {
	*contract
	dialect string
}

type testCase struct {
	name string
	run  func(context.Context) (string, error)
}

func (s *suite) cases() []testCase {
	return []testCase{
		{"ManagedIdentityCredential", func(ctx context.Context) (string, error) {
			credential, err := managed(nil)
			return s.whole(ctx, credential, err, "mic")
		}},
		{"DefaultAzureCredential", func(ctx context.Context) (string, error) {
			credential, err := azidentity.NewDefaultAzureCredential(nil)
			return s.whole(ctx, credential, err, "dac")
		}},
		{"DefaultAzureCredential with AZURE_CLIENT_ID", s.defaultWithClientID},
		{"own client_id", func(ctx context.Context) (string, error) {
			return s.own(ctx, azidentity.ClientID(s.Machine.ClientID))
		}},
		{"own object_id", func(ctx context.Context) (string, error) {
			return s.own(ctx, azidentity.ObjectID(s.Machine.PrincipalID))
		}},
		{"own resource_id", func(ctx context.Context) (string, error) {
			return s.own(ctx, azidentity.ResourceID(s.Machine.ResourceID))
		}},
		{"unknown client_id is refused", s.unknown},
		{"token of another resource is refused", s.foreignAudience},
		{"disallowed secret name is refused", func(ctx context.Context) (string, error) {
			credential, err := managed(nil)
			if err != nil {
				return "", err
			}
			return refusesName(ctx, s.contract, credential)
		}},
	}
}

func managed(id azidentity.ManagedIDKind) (*azidentity.ManagedIdentityCredential, error) {
	return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: id})
}

// whole asks for a token twice, then lives one secret's whole life.
func (s *suite) whole(ctx context.Context, credential azcore.TokenCredential, err error, label string) (string, error) {
	if err != nil {
		return "", err
	}
	for range 2 {
		if _, err := s.token(ctx, credential, vaultResource); err != nil {
			return "", err
		}
	}
	return exercise(ctx, s.contract, credential, s.dialect+"-"+label)
}

func (s *suite) token(ctx context.Context, credential azcore.TokenCredential, resource string) (string, error) {
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	if err != nil {
		return "", err
	}
	return s.checkToken(token, resource)
}

func (s *suite) own(ctx context.Context, id azidentity.ManagedIDKind) (string, error) {
	credential, err := managed(id)
	if err != nil {
		return "", err
	}
	return s.token(ctx, credential, vaultResource)
}

// defaultWithClientID: this variable, which other tools set too, turns the chain's request into a user-assigned
// one; on Arc the SDK then fails unless the answer names the same identity.
func (s *suite) defaultWithClientID(ctx context.Context) (string, error) {
	if err := os.Setenv("AZURE_CLIENT_ID", s.Machine.ClientID); err != nil {
		return "", err
	}
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	err = errors.Join(err, os.Unsetenv("AZURE_CLIENT_ID"))
	if err != nil {
		return "", err
	}
	return s.token(ctx, credential, vaultResource)
}

func (s *suite) unknown(ctx context.Context) (string, error) {
	credential, err := managed(azidentity.ClientID(unknownClientID))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, refusalLimit)
	defer cancel()
	_, err = credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{vaultResource + "/.default"}})
	switch {
	case err == nil:
		return "", errors.New("a token was issued for an identity this machine does not have")
	case ctx.Err() != nil:
		return "", fmt.Errorf("no refusal within %s", refusalLimit)
	}
	// A dead endpoint refuses everybody; only an answer about the identity counts.
	message := strings.ToLower(err.Error())
	if !strings.Contains(message, "identity not found") && !strings.Contains(message, "isn't assigned") {
		return "", fmt.Errorf("refused for another reason: %w", err)
	}
	return "refused", nil
}

// foreignAudience: our own token for Resource Manager opens no vault.
func (s *suite) foreignAudience(ctx context.Context) (string, error) {
	credential, err := managed(nil)
	if err != nil {
		return "", err
	}
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{managementResource + "/.default"}})
	if err != nil {
		return "", err
	}
	if _, err := s.checkToken(token, managementResource); err != nil {
		return "", err
	}
	return refusesToken(ctx, s.contract, token)
}
