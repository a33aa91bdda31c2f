// The chain of azidentity for Go, timed as benches/identity/rust/main.rs times ours: `nothing` or `agent`.
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

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

const (
	warm  = 20
	kept  = 20000
	scope = "https://vault.azure.net/.default"
)

func milliseconds(took time.Duration) float64 { return float64(took.Nanoseconds()) / 1e6 }

func ask(scope string) (float64, error) {
	started := time.Now()
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err == nil {
		_, err = credential.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}})
	}
	return milliseconds(time.Since(started)), err
}

func nothing() (map[string]any, error) {
	first, err := ask(scope)
	if err == nil {
		return nil, errors.New("there is an identity here")
	}
	return map[string]any{"first_ms": first}, nil
}

func agent() (map[string]any, error) {
	first, err := ask(scope)
	if err != nil {
		return nil, err
	}
	var each []float64
	for number := range warm {
		took, err := ask(fmt.Sprintf("https://go-%d.example/.default", number))
		if err != nil {
			return nil, err
		}
		each = append(each, took)
	}
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	options := policy.TokenRequestOptions{Scopes: []string{scope}}
	started := time.Now()
	for i := range kept + 1 {
		if i == 1 { // the first may be fetched
			started = time.Now()
		}
		if _, err := credential.GetToken(context.Background(), options); err != nil {
			return nil, err
		}
	}
	nanoseconds := float64(time.Since(started).Nanoseconds()) / kept
	return map[string]any{"first_ms": first, "warm_ms": each, "kept_ns": nanoseconds}, nil
}

func client() string {
	const path = "github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	if built, ok := debug.ReadBuildInfo(); ok {
		for _, module := range built.Deps {
			if module.Path == path {
				return "Go azidentity " + strings.TrimPrefix(module.Version, "v")
			}
		}
	}
	return "Go azidentity"
}

func main() {
	programs := map[string]func() (map[string]any, error){"nothing": nothing, "agent": agent}
	if len(os.Args) != 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: identity-go nothing|agent")
		os.Exit(64)
	}
	result, err := programs[os.Args[1]]()
	if err == nil {
		result["client"] = client()
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
