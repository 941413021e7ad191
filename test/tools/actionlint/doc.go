// Package actionlint pins the linter of GitHub's workflows. It has no code of its
// own: "go build" in this module builds the command.
package actionlint
