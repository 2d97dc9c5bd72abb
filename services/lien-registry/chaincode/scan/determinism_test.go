package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestEachSinIsFoundWhereItIsAndNowhereElse(t *testing.T) {
	source, err := os.ReadFile("testdata/bad/bad.go")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for number, line := range strings.Split(string(source), "\n") {
		if _, text, marked := strings.Cut(line, "// want: "); marked {
			want[fmt.Sprintf("bad.go:%d: ", number+1)] = text
		}
	}
	done := determinism("testdata", "./bad")
	if done.failed != nil {
		t.Fatal(done.failed)
	}
	for _, finding := range done.findings {
		matched := false
		for place, text := range want {
			if strings.HasPrefix(finding, place) && strings.Contains(finding, text) {
				matched = true
				delete(want, place)
			}
		}
		if !matched {
			t.Errorf("not expected: %s", finding)
		}
	}
	for place, text := range want {
		t.Errorf("not found: %s%s", place, text)
	}
}

func TestTheChaincodeIsDeterministic(t *testing.T) {
	done := determinism("..", endorsed)
	if done.failed != nil || len(done.findings) > 0 {
		t.Fatal(done.failed, strings.Join(done.findings, "\n"))
	}
}

func TestVerdictAndReport(t *testing.T) {
	clean, dirty, broken := result{title: "clean"}, result{title: "dirty", findings: []string{"a.go:1: bad"}}, result{title: "broken", failed: os.ErrNotExist}
	for _, given := range []struct {
		results []result
		code    int
	}{{[]result{clean}, 0}, {[]result{clean, dirty}, 1}, {[]result{dirty, broken}, 3}} {
		if code := verdict(given.results); code != given.code {
			t.Errorf("got %d, want %d", code, given.code)
		}
	}
	text := report("..", time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC), []result{clean, dirty, broken})
	for _, part := range []string{"2026-11-24", "## clean\n\nNothing found.", "a.go:1: bad", "Could not be run: file does not exist", "input.go:"} {
		if !strings.Contains(text, part) {
			t.Errorf("the report lacks %q:\n%s", part, text)
		}
	}
}
