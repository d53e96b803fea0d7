package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/attest"
	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/lineage"
	"hallmark.dev/hallmark/internal/pipeline"
)

// finding is one thing that was verified.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// findings are collected to the end: somebody who verifies wants to know
// everything that is wrong.
type findings []finding

func (f *findings) add(check string, err error, detail string) {
	if err != nil {
		detail = azure.Message(err)
	}
	*f = append(*f, finding{check, err == nil, detail})
}

func (a *App) report(what string, f findings) error {
	if err := a.print(f, column{"Check", "check"}, column{"OK", "ok"}, column{"Detail", "detail"}); err != nil {
		return err
	}
	for _, one := range f {
		if !one.OK {
			return &Error{Code: ExitFindings, Err: fmt.Errorf("%s cannot be verified: %s", what, one.Check)}
		}
	}
	return nil
}

func (a *App) imageVerify() *cobra.Command {
	return a.onGallery("verify GALLERY/DEFINITION/VERSION", "Check a version's signed statement, its digest and its tattoo", func(ctx context.Context, s *session, id string) error {
		v, err := s.published(ctx, id)
		if err != nil {
			return err
		}
		trusted, err := a.trusted()
		if err != nil {
			return err
		}
		return a.report(id, v.verify(trusted))
	})
}

func (a *App) trusted() (attest.Trusted, error) {
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}
	return keys.Trusted()
}

// published is a version with what its run knows of it.
type published struct {
	ID         string
	Name       string
	Tags       map[string]string
	Properties struct {
		Hallmark struct{ ImageDigest string }
	}
	run *pipeline.Run
}

func (s *session) published(ctx context.Context, id string) (*published, error) {
	var v published
	if err := s.Get(ctx, id, apiGallery, &v); err != nil {
		return nil, err
	}
	if name := v.Tags[lineage.TagRun]; name != "" {
		runID, err := s.findRun(ctx, name)
		if err == nil {
			v.run, err = s.run(ctx, runID)
		}
		var notThere *Error
		if err != nil && !(errors.As(err, &notThere) && notThere.Code == ExitNothing) {
			return nil, err
		}
	}
	return &v, nil
}

var errNoRun = errors.New("the run that published it is not known here, so there is no statement to check")

// verify checks that what was signed is about these bytes and this version.
func (v *published) verify(trusted attest.Trusted) findings {
	var f findings
	if v.run == nil || v.run.Statement == nil {
		f.add("statement", errNoRun, "")
		return f
	}
	statement, signers, err := attest.VerifyStatement(trusted, *v.run.Statement)
	f.add("statement", err, "signed by "+shorten(strings.Join(signers, ", ")))
	if err == nil {
		f.add("digest", v.aboutThese(statement), v.Properties.Hallmark.ImageDigest)
	}
	key, err := attest.Verify(trusted, []byte(v.run.Tattoo), []byte(v.run.Signature))
	f.add("tattoo signature", err, "signed by "+shorten(key))
	f.add("tattoo", v.belongs(v.run.Tattoo), "names this version")
	return f
}

func shorten(id string) string { return id[:min(len(id), 16)] }

// aboutThese says whether a statement is about this version's bytes.
func (v *published) aboutThese(s attest.Statement) error {
	if !s.About(v.Properties.Hallmark.ImageDigest) {
		return fmt.Errorf("the statement is about other bytes than the gallery's %s", v.Properties.Hallmark.ImageDigest)
	}
	var promotion attest.Promotion
	if err := json.Unmarshal(s.Predicate, &promotion); err != nil {
		return fmt.Errorf("read the statement: %w", err)
	}
	if !strings.EqualFold(promotion.VersionID, v.ID) {
		return fmt.Errorf("the statement is about %s", promotion.VersionID)
	}
	sum := sha256.Sum256([]byte(v.run.Tattoo))
	if got := "sha256:" + hex.EncodeToString(sum[:]); promotion.TattooDigest != got {
		return fmt.Errorf("the statement names the tattoo %s, the run has %s", promotion.TattooDigest, got)
	}
	return nil
}

// belongs says whether a tattoo names this version.
func (v *published) belongs(tattoo string) error {
	facts, err := image.ParseTattoo([]byte(tattoo))
	if err != nil {
		return err
	}
	id := facts.ImageGalleryID + "/images/" + facts.ImageDefinition + "/versions/" + facts.ImageVersion
	if !strings.EqualFold(id, v.ID) {
		return fmt.Errorf("the tattoo names %s", id)
	}
	return nil
}

func (a *App) vmVerify() *cobra.Command {
	return a.onVM("verify NAME", "Check that a machine runs the bytes that the gallery published, and that its tattoo says so", func(ctx context.Context, s *session, id string) error {
		trusted, err := a.trusted()
		if err != nil {
			return err
		}
		f, err := s.verifyMachine(ctx, id, trusted)
		if err != nil {
			return err
		}
		return a.report(id, f)
	})
}

func (s *session) verifyMachine(ctx context.Context, id string, trusted attest.Trusted) (findings, error) {
	var identity struct{ BackingDigest, GalleryVersionID string }
	if err := s.post(ctx, id, "hallmarkIdentity", apiCompute, nil, &identity); err != nil {
		return nil, err
	}
	var f findings
	if identity.GalleryVersionID == "" {
		f.add("image", errors.New("the machine was not made from a gallery version"), "")
		return f, nil
	}
	v, err := s.published(ctx, identity.GalleryVersionID)
	if err != nil {
		return nil, err
	}
	f.add("disk", same(identity.BackingDigest, v.Properties.Hallmark.ImageDigest), "rests on "+v.Properties.Hallmark.ImageDigest)
	tattoo, signature, err := s.readTattoo(ctx, id)
	if err != nil {
		f.add("tattoo", err, "")
		return f, nil
	}
	key, err := attest.Verify(trusted, []byte(tattoo), []byte(signature))
	f.add("tattoo signature", err, "signed by "+shorten(key))
	f.add("tattoo", v.belongs(tattoo), "names "+v.Name)
	return append(f, v.verify(trusted)...), nil
}

func same(got, want string) error {
	if got == "" || got != want {
		return fmt.Errorf("the disk rests on %q, the gallery published %q", got, want)
	}
	return nil
}

// divider stands between the two files in the script's output; the tattoo's
// own format has no such line.
const divider = "----hallmark----"

// readTattoo reads the tattoo out of the running machine, through its agent.
func (s *session) readTattoo(ctx context.Context, id string) (tattoo, signature string, err error) {
	var answer struct {
		Hallmark struct {
			ExitCode int
			Stdout   string
			Stderr   string
		}
	}
	script := []string{"set -e", "cat " + image.TattooPath, "echo " + divider, "cat " + image.TattooSignaturePath}
	body := map[string]any{"commandId": "RunShellScript", "script": script}
	if err := s.post(ctx, id, "runCommand", apiCompute, body, &answer); err != nil {
		return "", "", err
	}
	tattoo, signature, ok := strings.Cut(answer.Hallmark.Stdout, divider+"\n")
	if !ok {
		return "", "", fmt.Errorf("the machine has no tattoo: %s", strings.TrimSpace(answer.Hallmark.Stderr))
	}
	return tattoo, signature, nil
}
