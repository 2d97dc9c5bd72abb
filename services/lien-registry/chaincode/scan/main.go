// Command scan is the quarterly code scan of the chaincode: staticcheck, gosec and a determinism check, in one dated report.
//
// It is a module of its own, so that the chaincode doesn't carry its tools. Exit codes: 0 nothing found, 1 findings, 3 a
// tool could not be run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The packages that run inside endorsements.
const endorsed = "./internal/registry"

// tool is a scanner that Go's module tooling builds, at a fixed version.
type tool struct {
	name, module, version string
	arguments             []string
}

var tools = []tool{
	{"staticcheck", "honnef.co/go/tools/cmd/staticcheck", "v0.8.2", []string{"-checks", "all,-ST1000", "./..."}},
	{"gosec", "github.com/securego/gosec/v2/cmd/gosec", "v2.30.0", []string{"-quiet", "-exclude-dir=scan", "-fmt", "text", "-color=false", "./..."}},
}

// result is one section of the report.
type result struct {
	title    string
	findings []string
	failed   error
}

func main() {
	home := flag.String("chaincode", "..", "folder of the chaincode's module")
	out := flag.String("out", "", "folder for the dated report; none: standard output only")
	cache := flag.String("cache", defaultCache(), "folder for the scanners' binaries")
	flag.Parse()
	results := scan(*home, *cache)
	text := report(*home, time.Now().UTC(), results)
	fmt.Print(text)
	if err := save(*out, text); err != nil {
		fmt.Fprintln(os.Stderr, "scan:", err)
		os.Exit(3)
	}
	os.Exit(verdict(results))
}

func defaultCache() string {
	if folder, err := os.UserCacheDir(); err == nil {
		return filepath.Join(folder, "carlien", "scan")
	}
	return filepath.Join(os.TempDir(), "carlien-scan")
}

func scan(home, cache string) []result {
	results := []result{determinism(home, endorsed)}
	for _, tool := range tools {
		results = append(results, tool.run(home, cache))
	}
	return results
}

// run builds the tool where it isn't built yet and lets it loose.
func (t tool) run(home, cache string) result {
	done := result{title: t.name + " " + t.version}
	folder := filepath.Join(cache, t.name+"-"+t.version)
	binary := filepath.Join(folder, t.name)
	if _, err := os.Stat(binary); err != nil {
		install := exec.Command("go", "install", t.module+"@"+t.version)
		install.Env = append(os.Environ(), "GOBIN="+folder, "GOFLAGS=")
		if output, err := install.CombinedOutput(); err != nil {
			done.failed = fmt.Errorf("%w: %s", err, output)
			return done
		}
	}
	command := exec.Command(binary, t.arguments...)
	command.Dir = home
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		done.findings = lines(string(output))
	default:
		done.failed = fmt.Errorf("%w: %s", err, output)
	}
	return done
}

func lines(text string) []string {
	found := []string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			found = append(found, line)
		}
	}
	return found
}

func verdict(results []result) int {
	code := 0
	for _, done := range results {
		if done.failed != nil {
			return 3
		}
		if len(done.findings) > 0 {
			code = 1
		}
	}
	return code
}

func report(home string, at time.Time, results []result) string {
	text := &strings.Builder{}
	fmt.Fprintf(text, "# Code scan of the chaincode mortgage-asset, %s\n\n", at.Format(time.DateOnly))
	fmt.Fprintf(text, "Scanned %s, revision %s, with %s.\n", at.Format(time.RFC3339), output(home, "git", "rev-parse", "HEAD"), output(home, "go", "version"))
	for _, done := range results {
		fmt.Fprintf(text, "\n## %s\n\n", done.title)
		switch {
		case done.failed != nil:
			fmt.Fprintf(text, "Could not be run: %v\n", done.failed)
		case len(done.findings) == 0:
			fmt.Fprintln(text, "Nothing found.")
		default:
			fmt.Fprintf(text, "```\n%s\n```\n", strings.Join(done.findings, "\n"))
		}
	}
	fmt.Fprintf(text, "\n## Findings that the source waives, with its reason\n\n%s", waivers(home))
	return text.String()
}

func output(folder, name string, arguments ...string) string {
	command := exec.Command(name, arguments...) // #nosec G204 -- fixed commands of this program
	command.Dir = folder
	text, err := command.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// waivers lists what the scanners were told to pass over, so that a reviewer sees it too.
func waivers(home string) string {
	found := &strings.Builder{}
	walk := func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasPrefix(path, filepath.Join(home, "scan")) {
			return err
		}
		source, err := os.ReadFile(path) // #nosec G304 G122 -- a source file of the scanned module
		if err != nil {
			return err
		}
		for number, line := range strings.Split(string(source), "\n") {
			if _, reason, waived := strings.Cut(line, "#nosec"); waived {
				relative, _ := filepath.Rel(home, path)
				fmt.Fprintf(found, "- %s:%d %s\n", relative, number+1, strings.TrimSpace(reason))
			}
		}
		return nil
	}
	if err := filepath.WalkDir(home, walk); err != nil {
		return fmt.Sprintf("Could not be read: %v\n", err)
	}
	if found.Len() == 0 {
		return "None.\n"
	}
	return found.String()
}

func save(folder, text string) error {
	if folder == "" {
		return nil
	}
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	path := filepath.Join(folder, "chaincode-"+time.Now().UTC().Format(time.DateOnly)+".md")
	return os.WriteFile(path, []byte(text), 0o600)
}
