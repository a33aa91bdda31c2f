package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

const (
	firstValue  = "first value: ünïcode, \"quotes\" and\nlines"
	secondValue = "second value"
)

// vault is one client of the vault under test.
type vault struct {
	client *azsecrets.Client
	ctx    context.Context
}

func openVault(ctx context.Context, c *contract, credential azcore.TokenCredential) (*vault, error) {
	client, err := azsecrets.NewClient(c.vaultURL, credential, &azsecrets.ClientOptions{
		DisableChallengeResourceVerification: c.isLocalhost(),
	})
	return &vault{client, ctx}, err
}

// exercise reads the seeded secret, then sets, gets, updates, lists and deletes one of its own.
func exercise(ctx context.Context, c *contract, credential azcore.TokenCredential, label string) (string, error) {
	v, err := openVault(ctx, c, credential)
	if err != nil {
		return "", err
	}
	seeded, err := v.read(c.Secret.Name, "")
	if err != nil {
		return "", err
	}
	if err := same("value of the seeded secret", seeded.value, c.Secret.Value); err != nil {
		return "", err
	}

	// New each run: a deleted name stays reserved.
	name := fmt.Sprintf("conformance-go-%s-%x-%x", label, time.Now().Unix(), os.Getpid())
	first, err := v.set(name, firstValue)
	if err != nil {
		return "", err
	}
	second, err := v.set(name, secondValue)
	if err != nil {
		return "", err
	}
	if first == second {
		return "", errors.New("two sets gave one version")
	}
	if err := v.expect(name, "", reading{secondValue, second, "text/plain", "set"}); err != nil {
		return "", fmt.Errorf("get latest: %w", err)
	}
	if err := v.expect(name, first, reading{firstValue, first, "text/plain", "set"}); err != nil {
		return "", fmt.Errorf("get the first version: %w", err)
	}
	if err := v.update(name); err != nil {
		return "", err
	}
	if err := v.expect(name, "", reading{secondValue, second, "application/json", "updated"}); err != nil {
		return "", fmt.Errorf("get after update: %w", err)
	}
	if err := v.list(name, c.Secret.Name); err != nil {
		return "", err
	}
	if err := v.versions(name, first, second); err != nil {
		return "", err
	}
	deleted, err := v.client.DeleteSecret(ctx, name, nil)
	if err != nil {
		return "", fmt.Errorf("delete: %w", err)
	}
	if deleted.ID == nil || deleted.ID.Name() != name {
		return "", errors.New("delete returned the id of another secret")
	}
	_, err = v.client.GetSecret(ctx, name, "", nil)
	if _, err := refusal(err, http.StatusNotFound, "SecretNotFound"); err != nil {
		return "", fmt.Errorf("get after delete: %w", err)
	}
	return "token, set, get, update, list, versions, delete", nil
}

// reading is what a read of a secret gave, absent fields as empty strings.
type reading struct{ value, version, contentType, tag string }

func (v *vault) read(name, version string) (reading, error) {
	secret, err := v.client.GetSecret(v.ctx, name, version, nil)
	if err != nil {
		return reading{}, fmt.Errorf("get: %w", err)
	}
	if secret.ID == nil || secret.ID.Name() != name {
		return reading{}, errors.New("get returned the id of another secret")
	}
	return reading{text(secret.Value), secret.ID.Version(), text(secret.ContentType), text(secret.Tags["state"])}, nil
}

func (v *vault) expect(name, version string, expected reading) error {
	found, err := v.read(name, version)
	if err == nil && found != expected {
		err = fmt.Errorf("found %q, expected %q", found, expected)
	}
	return err
}

// set makes a new version and returns it.
func (v *vault) set(name, value string) (string, error) {
	secret, err := v.client.SetSecret(v.ctx, name, azsecrets.SetSecretParameters{
		Value:       to.Ptr(value),
		ContentType: to.Ptr("text/plain"),
		Tags:        map[string]*string{"state": to.Ptr("set")},
	}, nil)
	if err != nil {
		return "", fmt.Errorf("set: %w", err)
	}
	if secret.ID == nil || secret.ID.Name() != name || secret.ID.Version() == "" {
		return "", errors.New("set returned no id of this secret's new version")
	}
	return secret.ID.Version(), same("value that set returns", text(secret.Value), value)
}

func (v *vault) update(name string) error {
	_, err := v.client.UpdateSecretProperties(v.ctx, name, "", azsecrets.UpdateSecretPropertiesParameters{
		ContentType: to.Ptr("application/json"),
		Tags:        map[string]*string{"state": to.Ptr("updated")},
	}, nil)
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	return nil
}

func (v *vault) list(expected ...string) error {
	var names []string
	for pager := v.client.NewListSecretPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(v.ctx)
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		for _, item := range page.Value {
			if item.ID == nil || item.ID.Version() != "" {
				return errors.New("the list must name secrets, not versions")
			}
			names = append(names, item.ID.Name())
		}
	}
	for _, name := range expected {
		if count := len(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n != name })); count != 1 {
			return fmt.Errorf("the list names %s %d times", name, count)
		}
	}
	return nil
}

func (v *vault) versions(name string, expected ...string) error {
	var found []string
	for pager := v.client.NewListSecretPropertiesVersionsPager(name, nil); pager.More(); {
		page, err := pager.NextPage(v.ctx)
		if err != nil {
			return fmt.Errorf("versions: %w", err)
		}
		for _, item := range page.Value {
			if item.ID == nil {
				return errors.New("a listed version has no id")
			}
			found = append(found, item.ID.Version())
		}
	}
	slices.Sort(found)
	slices.Sort(expected)
	if !slices.Equal(found, expected) {
		return fmt.Errorf("versions are %q, expected %q", found, expected)
	}
	return nil
}

// refusesName: a name outside the documented alphabet is the caller's mistake, 400, not 404 and not 500.
func refusesName(ctx context.Context, c *contract, credential azcore.TokenCredential) (string, error) {
	v, err := openVault(ctx, c, credential)
	if err != nil {
		return "", err
	}
	_, err = v.client.SetSecret(ctx, "under_score", azsecrets.SetSecretParameters{Value: to.Ptr("x")}, nil)
	return refusal(err, http.StatusBadRequest, "BadParameter")
}

// refusesToken: the vault must turn away a token that was made for another resource.
func refusesToken(ctx context.Context, c *contract, token azcore.AccessToken) (string, error) {
	v, err := openVault(ctx, c, fixed(token))
	if err != nil {
		return "", err
	}
	_, err = v.client.GetSecret(ctx, c.Secret.Name, "", nil)
	return refusal(err, http.StatusUnauthorized, "Unauthorized")
}

// fixed is a credential that always hands out the same token.
type fixed azcore.AccessToken

func (f fixed) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken(f), nil
}

func refusal(err error, status int, code string) (string, error) {
	var response *azcore.ResponseError
	switch {
	case err == nil:
		return "", fmt.Errorf("expected %d %s, but it was granted", status, code)
	case !errors.As(err, &response):
		return "", fmt.Errorf("expected %d %s, got %w", status, code, err)
	case response.StatusCode != status || response.ErrorCode != code:
		return "", fmt.Errorf("expected %d %s, got %d %s", status, code, response.StatusCode, response.ErrorCode)
	}
	return fmt.Sprintf("%d %s", status, code), nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
