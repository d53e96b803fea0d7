package compute

import (
	"context"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// vmActions change what is wanted; Reconcile does it.
func (s *service) vmActions() []provider.Action {
	return []provider.Action{
		{Name: "start", Async: true, Apply: wanted(func(w *provider.Write, p *vmState) error {
			if p.Generalized {
				return notAllowed(w, "since the VM is generalized. Create a new machine from its image")
			}
			if p.Want = running; !s.Machines.Running(p.Machine) {
				p.Reached = "" // whatever ended it
			}
			return nil
		})},
		{Name: "powerOff", Async: true, Apply: wanted(func(w *provider.Write, p *vmState) error {
			if p.Want == deallocated {
				return notAllowed(w, "since the VM is deallocated: there is nothing to power off")
			}
			p.Want, p.SkipShutdown = stopped, skipsShutdown(w)
			return nil
		})},
		{Name: "deallocate", Async: true, Apply: wanted(func(_ *provider.Write, p *vmState) error {
			p.Want = deallocated
			return nil
		})},
		{Name: "restart", Async: true, Apply: wanted(restart)},
		{Name: "redeploy", Async: true, Apply: wanted(restart)},
		{Name: "reapply", Async: true, Apply: wanted(func(*provider.Write, *vmState) error { return nil })},
		{Name: "reimage", Async: true, Apply: wanted(reimage)},
		{Name: "generalize", Apply: wanted(func(w *provider.Write, p *vmState) error {
			if p.Want == running {
				return notAllowed(w, "since the VM is running. Prepare its system for copying, stop it, and try again")
			}
			p.Generalized = true
			return apply(w.Doc, edit{"properties.hallmark.generalized", true, false})
		})},
		{Name: actionAttachDetach, Async: true, Apply: s.applyAttachDetach},
		{Name: "runCommand", Async: true, KeepState: true, Apply: s.applyCommand},
		{Name: actionFollow, Async: true, Apply: s.follow},
	}
}

// skipsShutdown: clients ask for it in the query, scale sets in the body.
func skipsShutdown(w *provider.Write) bool {
	inBody, _ := arm.Get(w.Request, "skipShutdown")
	return strings.EqualFold(w.Query.Get("skipshutdown"), "true") || string(inBody) == "true"
}

func restart(w *provider.Write, p *vmState) error {
	if p.Want != running {
		return notAllowed(w, "since the VM is not running. Start it")
	}
	p.Restart = true
	return nil
}

func reimage(w *provider.Write, p *vmState) error {
	if (p.Source == source{}) {
		return notAllowed(w, "since its system disk was not made from an image")
	}
	p.Reimage = true
	return nil
}

func notAllowed(w *provider.Write, why string) error {
	return arm.Conflict("OperationNotAllowed", w.ID.String(), "Operation '%s' is not allowed on VM '%s' %s.", w.Action, w.ID.Name(), why)
}

// wanted makes an action of a change of desired state.
func wanted(change func(w *provider.Write, p *vmState) error) func(context.Context, *provider.Write) (any, error) {
	return func(_ context.Context, w *provider.Write) (any, error) {
		_, p := readVM(w.Doc)
		if err := change(w, &p); err != nil {
			return nil, err
		}
		return nil, setPrivate(w.Doc, p)
	}
}
