package imagebuilder

import (
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/artifact"
)

func artifactDigest(t *testing.T, hexadecimal string) artifact.Digest {
	t.Helper()
	d, err := artifact.ParseDigest(hexadecimal)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTemplateIsImmutable(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText())
	w.runIt(t, "")
	body := w.must(t, "GET", template, "", 200)
	w.must(t, "PUT", template, string(body), 200) // as it is: nothing changes
	w.settle(t)
	changed := strings.Replace(templateText(), "nginx", "apache2", 1)
	if got := w.must(t, "PUT", template, changed, 409); !strings.Contains(string(got), "Update/Upgrade of image templates is currently not supported") {
		t.Errorf("%s", got)
	}
	w.must(t, "PATCH", template, `{"properties":{"buildTimeoutInMinutes":60}}`, 409)
	w.must(t, "PATCH", template, `{"tags":{"a":"b"},"identity":{"type":"None"},"properties":{"vmProfile":{"osDiskSizeGB":20}}}`, 200)
	w.settle(t)
	if s := w.runIt(t, ""); s.RunState != "Succeeded" || w.engines.plans[1].OSDiskSizeGB != 20 {
		t.Errorf("%+v %+v", s, w.engines.plans[1])
	}
}

func TestTemplateMistakesAreAllReported(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name, text string
		wants      []string
	}{
		{"steps", `{"location":"eastus","properties":{"source":` + platform + `,"customize":[{"type":"PowerShell","inline":["x"]},{"type":"Shell"},{"type":"Shell","inlin":["x"]}],"distribute":[` + toGallery + `]}}`,
			[]string{"properties.customize[1]", "properties.customize[2]"}},
		{"windows", `{"location":"eastus","properties":{"source":` + platform + `,"customize":[{"type":"WindowsRestart"}],"distribute":[` + toGallery + `]}}`, []string{"needs Windows"}},
		{"targets", templateText(`{"type":"SharedImage","runOutputName":"a","targetRegions":[{"name":"eastus"}],"galleryImageId":"` + definition.Parent().String() + `"},{"type":"VHD","runOutputName":"A"}`), []string{"properties.distribute[0].galleryImageId"}},
		{"names", templateText(`{"type":"VHD","runOutputName":"a"},{"type":"VHD","runOutputName":"A"}`), []string{"used by another distribution"}},
		{"nothing to distribute", `{"location":"eastus","properties":{"source":` + platform + `}}`, []string{"properties.distribute"}},
		{"missing source", strings.Replace(templateText(), platform, `{"type":"ManagedImage","imageId":"`+group.Resource(typeImage, "none").String()+`"}`, 1), []string{"does not exist"}},
		{"a file of the server", strings.Replace(templateText(), platform, `{"type":"URL","uri":"file:///etc/shadow","sha256Checksum":"`+sumOf("")+`"}`, 1), []string{"file:///etc/shadow"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := w.must(t, "PUT", template, c.text, 400)
			for _, want := range c.wants {
				if !strings.Contains(string(body), want) {
					t.Errorf("%q is not in %s", want, body)
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText(toGallery, `"buildTimeoutInMinutes":0`))
	if v, _ := arm.Get(w.must(t, "GET", template, "", 200), "properties.buildTimeoutInMinutes"); string(v) != "240" {
		t.Errorf("timeout %s", v)
	}
}

func TestAutoRun(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText(toGallery, `"autoRun":{"state":"Enabled"}`))
	if s := w.status(t); s.RunState != "Succeeded" {
		t.Errorf("%+v", s)
	}
	w.must(t, "GET", definition.Child("versions", "0.0.1"), "", 200)
}

func TestCancelWithoutARun(t *testing.T) {
	w := newWorld(t)
	w.create(t, templateText())
	w.mustPath(t, "POST", template.String()+"/cancel", "", 409)
}
