package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// contract is what this run is held against: the part of dev.json a client needs, and the vault's address.
type contract struct {
	TenantID string `json:"tenant_id"`
	Machine  struct {
		ResourceID  string `json:"resource_id"`
		ClientID    string `json:"client_id"`
		PrincipalID string `json:"principal_id"`
	} `json:"machine"`
	Secret struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"secret"`

	vaultURL string
}

func loadContract() (*contract, error) {
	path, err := variable("DENIZEN_DEV_JSON")
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c contract
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for field, value := range map[string]string{
		"tenant_id": c.TenantID, "machine.client_id": c.Machine.ClientID,
		"machine.principal_id": c.Machine.PrincipalID, "machine.resource_id": c.Machine.ResourceID,
		"secret.name": c.Secret.Name, "secret.value": c.Secret.Value,
	} {
		if value == "" {
			return nil, fmt.Errorf("%s: %s is empty or missing", path, field)
		}
	}
	c.vaultURL, err = variable("DENIZEN_VAULT_URL")
	return &c, err
}

func variable(name string) (string, error) {
	value := os.Getenv(name)
	if value == "" {
		return "", fmt.Errorf("%s is not set", name)
	}
	return value, nil
}

// isLocalhost tells whether the vault's host is `localhost`, the one host for which the client's own check of the
// challenge is switched off: no challenge can satisfy it (the host must be a name below the resource's).
func (c *contract) isLocalhost() bool {
	parsed, err := url.Parse(c.vaultURL)
	return err == nil && parsed.Hostname() == "localhost"
}

// checkToken checks the claims and what the SDK was told about the end of the token.
func (c *contract) checkToken(token azcore.AccessToken, audience string) (string, error) {
	parts := strings.Split(token.Token, ".")
	if len(parts) != 3 || parts[2] == "" {
		return "", fmt.Errorf("a token of %d parts is no signed JWT", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", fmt.Errorf("token payload: %w", err)
	}
	var claims struct {
		Oid, Appid, Tid, Aud string
		Exp                  int64
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", fmt.Errorf("token payload: %w", err)
	}
	err = errors.Join(
		same("claim oid", claims.Oid, c.Machine.PrincipalID),
		same("claim appid", claims.Appid, c.Machine.ClientID),
		same("claim tid", claims.Tid, c.TenantID),
		same("claim aud", claims.Aud, audience),
	)
	if err != nil {
		return "", err
	}
	left := time.Until(time.Unix(claims.Exp, 0))
	if left <= 300*time.Second {
		return "", fmt.Errorf("the token ends in %s; an SDK treats less than 300 s as over", left)
	}
	told := token.ExpiresOn
	if time.Until(told) <= 300*time.Second || told.Unix() > claims.Exp+1 {
		return "", fmt.Errorf("the SDK was told %d, the token says exp %d", told.Unix(), claims.Exp)
	}
	return fmt.Sprintf("token for %s", left.Round(time.Second)), nil
}

func same(what, found, expected string) error {
	if found != expected {
		return fmt.Errorf("%s is %q, expected %q", what, found, expected)
	}
	return nil
}
