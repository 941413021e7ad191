package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Version says which source an image is built from.
type Version struct {
	// Name is the release, "v1.2.3", or "devel-" and the commit.
	Name string
	// Revision is the commit.
	Revision string
	// Time is that of the commit, so that it does not depend on when one builds.
	Time time.Time
}

func (v Version) created() string { return v.Time.UTC().Format(time.RFC3339) }

// VersionOf is the version of a checkout. release names it, if it is not empty.
// $SOURCE_DATE_EPOCH, in seconds, replaces the commit's time.
func VersionOf(ctx context.Context, root, release string) (Version, error) {
	v := Version{Name: release, Revision: "unknown", Time: time.Unix(0, 0)}
	if commit, err := git(ctx, root, "log", "-1", "--format=%H %ct"); err == nil {
		revision, at, _ := strings.Cut(commit, " ")
		seconds, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return v, fmt.Errorf("read the time of commit %s: %w", revision, err)
		}
		v.Revision, v.Time = revision, time.Unix(seconds, 0)
		changed, err := git(ctx, root, "status", "--porcelain")
		if err != nil {
			return v, fmt.Errorf("look for changes: %w", err)
		}
		if changed != "" {
			v.Revision += "+dirty"
		}
	}
	if v.Name == "" {
		v.Name = "devel-" + v.Revision
	}
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return v, fmt.Errorf("read $SOURCE_DATE_EPOCH: %w: it is a number of seconds", err)
		}
		v.Time = time.Unix(seconds, 0)
	}
	return v, nil
}

// git is the output of a git command. A source without git fails.
func git(ctx context.Context, root string, args ...string) (string, error) {
	said, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
	return strings.TrimSpace(string(said)), err
}
