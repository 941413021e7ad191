// Package assembly runs reconcilers that keep one picture together. A first pass
// over the objects makes the whole picture; it is published; and then a controller
// for each reconciler keeps its share of it.
//
// It knows no kind of object: each reconciler is a Part, with its watches and with
// what it publishes to. Its invariants: nobody hears of a part of the picture
// before all of it was built; what the first pass finds is published in the order
// of the parts; and no event is lost between the first pass and the controllers,
// because the watches begin before it and the workers after it.
package assembly

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/fairwaynet/fairway/api/problem"
)

// Assembly is Parts that are run together. It is a manager.Runnable.
type Assembly struct {
	// Parts in the order in which they are built and published: what is referred to
	// comes before what refers to it.
	Parts []Part
	// Settle waits, but not for long, for what the parts asked for while they were
	// built; nil: they ask for nothing.
	Settle func(context.Context)
	// Report takes the Problems of a reconciler's key, as the first pass found them.
	Report func(ctx context.Context, key any, problems []problem.Problem)
	// Await returns when the first pass may begin, or when ctx ends; nil: at once.
	Await func(context.Context)
	// Begin is called right before the first pass, and what it returns when all of
	// the picture is published, with its Problems; nil: nobody is told.
	Begin func() (published func(Problems))
	// Beside runs for as long as the controllers do.
	Beside []func(context.Context) error
	Log    logr.Logger
}

// Part is one reconciler of an Assembly. It is a *Kind.
type Part interface {
	// build has the first pass find all keys, and build each.
	build(ctx context.Context, problems Problems) error
	// complete builds again what waits for something that was asked for.
	complete(ctx context.Context, problems Problems) error
	// publish publishes what was built, and forget drops it.
	publish()
	forget()
	// controller makes the controller that keeps the part.
	controller(log logr.Logger) (controller, error)
}

// controller is a controller whose watches can begin before its workers.
type controller interface {
	Warmup(context.Context) error
	Start(context.Context) error
}

// Problems is those that a pass finds, by the reconciler's key that has them.
type Problems map[any][]problem.Problem

// All is all of them, in order and without duplicates.
func (p Problems) All() []problem.Problem {
	var all []problem.Problem
	for _, problems := range p {
		all = append(all, problems...)
	}
	return problem.Sort(all)
}

// FirstPass builds the picture that the objects ask for. It publishes and reports
// nothing.
func (a *Assembly) FirstPass(ctx context.Context) (Problems, error) {
	problems := Problems{}
	for _, part := range a.Parts {
		if err := part.build(ctx, problems); err != nil {
			return nil, err
		}
	}
	if a.Settle != nil {
		a.Settle(ctx)
	}
	for _, part := range a.Parts {
		if err := part.complete(ctx, problems); err != nil {
			return nil, err
		}
	}
	return problems, nil
}

// Start publishes the picture of a first pass and keeps it until ctx ends. The
// cache must have been started.
func (a *Assembly) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	controllers, err := a.watch(ctx)
	if err != nil {
		return err
	}
	if a.Await != nil {
		a.Await(ctx)
	}
	switch err := a.Open(ctx); {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("first pass: %w", err)
	}
	running, ctx := errgroup.WithContext(ctx)
	for _, beside := range a.Beside {
		running.Go(func() error { return beside(ctx) })
	}
	for _, controller := range controllers {
		running.Go(func() error { return controller.Start(ctx) })
	}
	return running.Wait()
}

// watch begins the watches of all parts, and returns when what is there has been
// seen.
func (a *Assembly) watch(ctx context.Context) ([]controller, error) {
	var all []controller
	for _, part := range a.Parts {
		made, err := part.controller(a.Log)
		if err != nil {
			return nil, err
		}
		all = append(all, made)
	}
	var beginning errgroup.Group // without a context: the watches outlive it
	for _, controller := range all {
		beginning.Go(func() error { return controller.Warmup(ctx) })
	}
	if err := beginning.Wait(); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return all, nil
}

// Open builds the first picture and publishes it. Start does it; a test that runs the
// controllers itself calls it.
func (a *Assembly) Open(ctx context.Context) error {
	published := func(Problems) {}
	if a.Begin != nil {
		published = a.Begin()
	}
	problems, err := a.FirstPass(ctx)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	for _, part := range a.Parts {
		part.publish()
	}
	for key, found := range problems {
		a.Report(ctx, key, found)
	}
	published(problems)
	for _, part := range a.Parts {
		part.forget()
	}
	return nil
}
