resource "azurerm_linux_virtual_machine" "web" {
  for_each = toset(["a"])
  name     = "web-a"
  size     = "Standard_B2ms"
  source_image_id = azurerm_shared_image_version.golden.id
  tags = {
    env = "prod"
  }
}
resource "azapi_resource" "vm" {
  type = "Microsoft.Compute/virtualMachines@2024-07-01"
}
