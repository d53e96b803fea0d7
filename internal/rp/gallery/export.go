package gallery

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

const actionExport = "export"

// Formats are what a version can be exported as. A VHD is fixed and a whole number of
// MiB large, as Azure demands of uploads.
var Formats = []string{"vhd", "qcow2", "raw", FormatInventory}

// exported is the answer of an export.
type exported struct {
	Format string `json:"format"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"sizeBytes"`
}

// applyExport: POST …/versions/V/export {"format":"vhd"}.
func applyExport(_ context.Context, w *provider.Write) (any, error) {
	request := struct{ Format string }{"vhd"}
	if len(w.Request) > 0 {
		if errs := decode(w.Request, &request); errs != nil {
			return nil, arm.Join(errs)
		}
	}
	if err := arm.Join(oneOf(nil, "format", request.Format, true, Formats...)); err != nil {
		return nil, err
	}
	st, err := readState(w.Doc)
	if err != nil {
		return nil, err
	}
	if w.Doc.State() != arm.StateSucceeded || st.Image == nil {
		return nil, arm.Conflict("OperationNotAllowed", w.ID.String(), "The image version is in the state '%s'; only one that has Succeeded can be exported.", w.Doc.State())
	}
	st.Export = strings.ToLower(request.Format)
	w.Doc.Private, err = json.Marshal(st)
	return nil, err
}

// export does what the action asked for. Interrupted anywhere it starts again:
// a file that no document names yet is swept away.
func (p *publication) export(ctx context.Context) error {
	format := p.st.Export
	if format == "" {
		return nil
	}
	done, err := p.exportTo(ctx, format)
	if ctx.Err() != nil {
		return err
	}
	p.mu.Lock()
	p.st.Export = ""
	if err == nil {
		if p.st.Exported == nil {
			p.st.Exported = map[string]exported{}
		}
		p.st.Exported[format] = done
	}
	p.mu.Unlock()
	return p.update(ctx, func(d *provider.Draft) {
		if err != nil {
			d.End(actionExport, nil, arm.Errorf(500, "ExportFailed", "The image version was not exported as %s: %v. Mend the cause and export again.", format, err).Because(err))
			return
		}
		d.End(actionExport, done, nil)
	})
}

func (p *publication) exportTo(ctx context.Context, format string) (exported, error) {
	if p.st.Image == nil {
		return exported{}, fmt.Errorf("the version has no bytes")
	}
	if e, ok := p.st.Exported[format]; ok {
		if _, _, err := p.Artifacts.Resolve(e.URI); err == nil {
			return e, nil // the same bytes are still there
		}
	}
	dir, err := p.Artifacts.Scratch()
	if err != nil {
		return exported{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "image."+format)
	if err := p.Bytes.Export(ctx, p.w.Doc.Location, p.st.Image.Digest, format, path); err != nil {
		return exported{}, err
	}
	file, err := p.Artifacts.Put(ctx, path)
	if err != nil {
		return exported{}, err
	}
	return exported{Format: format, URI: p.Artifacts.URI(file.Digest), SHA256: string(file.Digest), Size: file.Size}, nil
}
