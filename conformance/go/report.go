package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

const clientName = "go azidentity"

// report appends one line per case to DENIZEN_RESULTS and says the same to a person.
type report struct {
	file     *os.File
	dialect  string
	version  string
	failures int
	lines    int
}

func openReport(dialect string) (*report, error) {
	path, err := variable("DENIZEN_RESULTS")
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &report{file: file, dialect: dialect, version: sdkVersion()}, nil
}

// sdkVersion is the version linked into this binary, as the Go toolchain recorded it.
func sdkVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/Azure/azure-sdk-for-go/sdk/azidentity" {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return "unknown"
}

func (r *report) add(name, detail string, err error) {
	word := "ok"
	if err != nil {
		word, detail = "fail", err.Error()
		r.failures++
	}
	r.lines++
	detail = strings.Join(strings.Fields(detail), " ")
	fmt.Printf("%-4s  %s %s  %-11s  %s: %s\n", word, clientName, r.version, r.dialect, name, detail)
	line := strings.Join([]string{clientName, r.version, r.dialect, name, word, detail}, "\t")
	if _, err := fmt.Fprintln(r.file, line); err != nil {
		fmt.Fprintln(os.Stderr, "result file:", err)
		r.failures++
	}
}

// code is the exit code; success needs at least one line, since a suite that ran nothing proves nothing.
func (r *report) code() int {
	if err := r.file.Close(); err != nil || r.failures > 0 || r.lines == 0 {
		return 1
	}
	return 0
}
