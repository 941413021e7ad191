package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestEveryReasonIsDocumented: whoever reads a reason in an event finds it on the page of
// Problems.
func TestEveryReasonIsDocumented(t *testing.T) {
	all := reasons(t)
	if len(all) < 60 {
		t.Fatalf("only %d reasons are found", len(all))
	}
	page := pages(t)["docs/problems.md"]
	for reason, file := range all {
		if !strings.Contains(page, "\n### "+reason+"\n") {
			t.Errorf("docs/problems.md has no heading for %s of %s", reason, file)
		}
	}
}

// reasons are the constants of type problem.Reason in the module, with their files.
func reasons(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declared := range file.Decls {
			group, ok := declared.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				for _, reason := range reasonsOf(spec.(*ast.ValueSpec)) {
					found[reason] = path
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// reasonsOf are the values of constants if their type is problem.Reason.
func reasonsOf(spec *ast.ValueSpec) []string {
	named, ok := spec.Type.(*ast.SelectorExpr)
	if !ok || named.Sel.Name != "Reason" {
		return nil
	}
	if from, ok := named.X.(*ast.Ident); !ok || from.Name != "problem" {
		return nil
	}
	var all []string
	for _, value := range spec.Values {
		if literal, ok := value.(*ast.BasicLit); ok {
			text, err := strconv.Unquote(literal.Value)
			if err == nil {
				all = append(all, text)
			}
		}
	}
	return all
}
