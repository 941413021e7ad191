// Package zones reads what a cluster's people have written for CoreDNS, in CoreDNS's own language,
// and leaves out what CoreDNS would not start with: a mistake costs the file that has it.
//
// A file NAME.server holds blocks for zones, a file NAME.override holds lines for the block that
// answers everything. Other files are for these to name.
package zones

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"

	"github.com/fairwaynet/fairway/dns/corefile"
)

// Read reads a folder. A folder that does not exist has no files. The files are sorted by name.
func Read(folder string) (overrides, servers []corefile.File, err error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read zones: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		end := filepath.Ext(name)
		if strings.HasPrefix(name, ".") || end != ".server" && end != ".override" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, name)) // a link, in a volume of a ConfigMap
		if err != nil {
			return nil, nil, fmt.Errorf("read zones: %w", err)
		}
		if end == ".server" {
			servers = append(servers, corefile.File{Name: name, Text: string(text)})
		} else {
			overrides = append(overrides, corefile.File{Name: name, Text: string(text)})
		}
	}
	return overrides, servers, nil
}

// Problem is a file that was left out.
type Problem struct{ File, Why string }

func (p Problem) String() string { return p.File + ": " + p.Why }

// Choose adds files to settings. It leaves out those with which check fails, which gets the text
// of a whole configuration. If all files are good, check is called once.
func Choose(settings corefile.Settings, overrides, servers []corefile.File, check func(text string) error) (corefile.Settings, []Problem) {
	var problems []Problem
	overrides = keep(overrides, override, &problems)
	servers = keep(servers, blocks, &problems)
	if len(overrides)+len(servers) == 0 {
		return settings, problems
	}
	all := settings
	all.Overrides, all.Servers = overrides, servers
	if check(corefile.Text(all)) == nil {
		return all, problems
	}
	good := settings
	for _, file := range overrides {
		try := good
		try.Overrides = append(good.Overrides[:len(good.Overrides):len(good.Overrides)], file)
		if err := check(corefile.Text(try)); err != nil {
			problems = append(problems, Problem{file.Name, err.Error()})
			continue
		}
		good = try
	}
	for _, file := range servers {
		try := good
		try.Servers = append(good.Servers[:len(good.Servers):len(good.Servers)], file)
		if err := check(corefile.Text(try)); err != nil {
			problems = append(problems, Problem{file.Name, err.Error()})
			continue
		}
		good = try
	}
	return good, problems
}

// keep are the files that have the form.
func keep(files []corefile.File, form func(corefile.File) error, problems *[]Problem) []corefile.File {
	var good []corefile.File
	for _, file := range files {
		if err := form(file); err != nil {
			*problems = append(*problems, Problem{file.Name, err.Error()})
			continue
		}
		good = append(good, file)
	}
	return good
}

// override has lines for one block: it neither ends the block nor begins another, and leaves nothing
// open, so that a line after it is still one of the block.
func override(file corefile.File) error {
	const after = "after-the-file"
	found, err := caddyfile.Parse(file.Name, bytes.NewBufferString(".:53 {\n"+file.Text+"\n"+after+"\n}\n"), nil)
	if err != nil {
		return err
	}
	if len(found) != 1 || len(found[0].Tokens[after]) != 1 {
		return errors.New("its braces do not match, so it would end the block that it is part of, or reach beyond")
	}
	return nil
}

// blocks has whole blocks.
func blocks(file corefile.File) error {
	const after = "after.the.file"
	found, err := caddyfile.Parse(file.Name, bytes.NewBufferString(file.Text+"\n"+after+" {\n}\n"), nil)
	if err == nil && (len(found) == 0 || !slices.Equal(found[len(found)-1].Keys, []string{after})) {
		return errors.New("its braces do not match")
	}
	for _, block := range found {
		if len(block.Keys) == 0 && len(block.Tokens) > 0 {
			err = errors.Join(err, errors.New("a block begins with its zones"))
		}
	}
	return err
}
