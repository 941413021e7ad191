package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// release is set when a release is built: -ldflags "-X main.release=v1.2.3".
var release string

func versionCommand(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(std.Out, versionLine())
			return err
		},
	}
}

// versionLine is the output of "fairway version" and "fairway --version".
func versionLine() string {
	return fmt.Sprintf("fairway %s %s %s/%s", ownVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// ownVersion is the version of this program.
func ownVersion() string {
	build, _ := debug.ReadBuildInfo()
	return version(build)
}

// version is the release. For a build from a checkout it is the commit, with
// "+dirty" if there were changes.
func version(build *debug.BuildInfo) string {
	if release != "" || build == nil {
		return cmp.Or(release, "unknown")
	}
	if v := build.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	settings := map[string]string{}
	for _, s := range build.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if commit == "" {
		return "devel"
	}
	if settings["vcs.modified"] == "true" {
		commit += "+dirty"
	}
	return "devel-" + commit
}
