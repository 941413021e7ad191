// Package docs tests what can be tested of the documentation: that its links
// lead somewhere, and that decisions say whether they still hold.
package docs

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// pages are all pages of the repository, by their path in it.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			found[name] = string(text)
		}
	}
	if len(found) < 20 {
		t.Fatalf("only %d pages are found", len(found))
	}
	return found
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	for name, text := range all {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			if err := follow(all, name, match[1]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// follow says why a link of a page leads nowhere in this repository.
func follow(all map[string]string, page, target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	if u.Host != "" {
		return nil // of others
	}
	path := page
	if u.Path != "" {
		path = filepath.Join(filepath.Dir(page), u.Path)
	}
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		return fmt.Errorf("%s: there is no such file", target)
	}
	if text, isPage := all[path]; isPage && u.Fragment != "" && !anchors(text)[u.Fragment] {
		return fmt.Errorf("%s: the page has no such section", target)
	}
	return nil
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}\p{M}_ -]`)
)

// anchors are the sections of a page, as GitHub names them.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		name := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-")
		for n := 1; found[name]; n++ {
			name = fmt.Sprintf("%s-%d", name, n)
		}
		found[name] = true
	}
	return found
}

// TestDecisionsHaveAStatus: the number of a decision is that of its file, and
// what a later one has changed says so.
func TestDecisionsHaveAStatus(t *testing.T) {
	seen := map[int]string{}
	for name, text := range pages(t) {
		if filepath.Dir(name) != "docs/adr" {
			continue
		}
		var number int
		if _, err := fmt.Sscanf(filepath.Base(name), "%04d-", &number); err != nil {
			t.Errorf("%s: the name has no number of four digits: %v", name, err)
			continue
		}
		if other := seen[number]; other != "" {
			t.Errorf("%s and %s have one number", name, other)
		}
		seen[number] = name
		if want := fmt.Sprintf("# %d. ", number); !strings.HasPrefix(text, want) {
			t.Errorf("%s does not begin with %q", name, want)
		}
		for _, part := range []string{"\nStatus: ", "\n## Context\n", "\n## Decision\n"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %q", name, strings.TrimSpace(part))
			}
		}
	}
	for number := 1; number <= len(seen); number++ {
		if seen[number] == "" {
			t.Errorf("there is no decision %d", number)
		}
	}
}

// TestPathsForContributorsExist: the page that says where to change what names files
// that are there.
func TestPathsForContributorsExist(t *testing.T) {
	_, table, found := strings.Cut(pages(t)["CONTRIBUTING.md"], "\n## Where would I change")
	table, _, ended := strings.Cut(table, "\n\n`")
	if !found || !ended {
		t.Fatal("CONTRIBUTING.md has no table of places")
	}
	paths := 0
	for _, match := range regexp.MustCompile("`([^`]+/[^`]*)`").FindAllStringSubmatch(table, -1) {
		paths++
		if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
			t.Errorf("CONTRIBUTING.md: %v", err)
		}
	}
	if paths < 10 {
		t.Errorf("only %d paths are found", paths)
	}
}
