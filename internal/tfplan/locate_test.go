package tfplan

import "testing"

const webFile = `# resource "azurerm_linux_virtual_machine" "web" {
locals {
  script = <<-EOT
    resource "azurerm_linux_virtual_machine" "web" {
    }
  EOT
  x = { a = "}" }
}

/* resource
*/
variable "size" { default = "a${"}"}b" }

resource "azurerm_linux_virtual_machine" "db" {
  size = "x"
}

resource "azurerm_linux_virtual_machine" "web" {
  name = "web" // the name
  tags = {
    size = "not this one"
  }
  source_image_reference {
    sku = "s"
  }
  os_disk {
    # caching
    caching = "None"
  }
  size = var.size
}
`

func TestLocate(t *testing.T) {
	for _, tt := range []struct {
		name, attribute string
		want            int
	}{
		{"web", "", 18}, {"web", "size", 30}, {"web", "os_disk.caching", 28}, {"web", "os_disk.nothing", 26}, {"web", "tags", 20}, {"web", "nothing", 18},
		{"web", "source_image_reference.sku", 24}, {"db", "size", 15}, {"other", "", 0},
	} {
		line, ok := Locate(webFile, "azurerm_linux_virtual_machine", tt.name, tt.attribute)
		if line != tt.want || ok != (tt.want > 0) {
			t.Errorf("%s %s: line %d %v, want %d", tt.name, tt.attribute, line, ok, tt.want)
		}
	}
}

func FuzzLocate(f *testing.F) {
	f.Add(webFile, "os_disk.caching")
	f.Add("resource \"a\" \"b\" {\n x = <<E\n", "x")
	f.Add("resource \"a\" \"b\" { x = \"${\"", "x")
	f.Fuzz(func(t *testing.T, text, attribute string) {
		if line, ok := Locate(text, "a", "b", attribute); ok && line < 1 {
			t.Errorf("line %d", line)
		}
	})
}
