// Asks azidentity for one token: ask mic|dac [CLIENT_ID]; says as JSON what came of it.
// It belongs to ../../matrix and lives here for this module's pinned dependencies.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

type answer struct {
	OK      bool   `json:"ok"`
	Class   string `json:"class,omitempty"`
	Message string `json:"message,omitempty"`
	Millis  int64  `json:"ms"`
	Version string `json:"version"`
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: ask mic|dac [CLIENT_ID]")
		os.Exit(64)
	}
	started := time.Now()
	token, err := ask(os.Args[1], os.Args[2:])
	said := answer{OK: err == nil && token.Token != "", Millis: time.Since(started).Milliseconds(), Version: version()}
	if err != nil {
		said.Class, said.Message = "failed", err.Error()
		if errors.Is(err, errSkipped) {
			said.Class = "unavailable"
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		os.Exit(74)
	}
}

func ask(kind string, rest []string) (azcore.AccessToken, error) {
	var credential azcore.TokenCredential
	var err error
	if kind == "dac" {
		credential, err = azidentity.NewDefaultAzureCredential(nil)
	} else {
		options := &azidentity.ManagedIdentityCredentialOptions{}
		if len(rest) > 0 {
			options.ID = azidentity.ClientID(rest[0])
		}
		credential, err = azidentity.NewManagedIdentityCredential(options)
	}
	if err != nil {
		return azcore.AccessToken{}, err
	}
	request := policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}}
	if kind == "dac" {
		return credential.GetToken(context.Background(), request)
	}
	next := &nextLink{}
	chain, err := azidentity.NewChainedTokenCredential([]azcore.TokenCredential{credential, next}, nil)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	token, err := chain.GetToken(context.Background(), request)
	if next.asked {
		err = errors.Join(err, errSkipped)
	}
	return token, err
}

var errSkipped = errors.New("the chain went on")

// nextLink finds out whether a chain goes on: the SDK does not export the type that decides it.
type nextLink struct{ asked bool }

func (n *nextLink) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	n.asked = true
	return azcore.AccessToken{}, errSkipped
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if strings.HasSuffix(dependency.Path, "/sdk/azidentity") {
			return strings.TrimPrefix(dependency.Version, "v")
		}
	}
	return ""
}
