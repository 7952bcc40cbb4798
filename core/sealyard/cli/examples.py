"""Examples that ``--help`` shows for each command with options."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "": (
        "sealyard",
        "sealyard --start-screen approvals --filter status:waiting",
        "sealyard --profile anna --read-only",
    ),
    "init": (
        "sealyard init",
        "sealyard init --workspace /srv/yard --name yard --admin USER:olga --key-store passphrase",
        "sealyard init --workspace /srv/yard --database service=sealyard",
    ),
    "demo": ("sealyard demo", "sealyard demo --headless"),
    "serve": (
        "sealyard serve --workspace /srv/yard",
        "sealyard serve --listen 0.0.0.0:8750 --tls-certificate server.pem --tls-key server.key",
        "sealyard serve --config /etc/sealyard/server.toml",
    ),
    "login": (
        "sealyard login https://seal.example:8750",
        "sealyard login https://seal.example:8750 --name plant --ca corporate-ca.pem",
        "sealyard login https://seal.example:8750 --token < token.txt",
    ),
    "profile add": (
        "sealyard profile add anna --identity USER:anna",
        "sealyard profile add anna --workspace /srv/yard --identity USER:anna --downloads ~/containers",
    ),
    "config example": (
        "sealyard config example > ~/.config/sealyard/config.toml",
        "sealyard config example --server > server.toml",
    ),
    "db upgrade": ("sealyard db upgrade service=sealyard-owner",),
    "db check": ("sealyard db check service=sealyard",),
    "db raise-format": ("sealyard db raise-format service=sealyard-owner",),
    "s3 check": ("sealyard s3 check 's3://sealyard/yard?region=eu-central-1'",),
    "workspace move": (
        "sealyard workspace move --database service=sealyard --dry-run",
        "sealyard workspace move --database service=sealyard --yes",
        "sealyard workspace move --to-folder --yes",
    ),
    "recover": ("sealyard recover", "sealyard recover --yes", "sealyard recover --adopt --yes"),
    "clock confirm": ("sealyard clock confirm", "sealyard clock confirm --yes"),
    "subject add": (
        "sealyard subject add USER:anna --display-name 'Anna Berg'",
        "sealyard subject add GROUP:approvers",
        "sealyard subject add CLIENT:ci",
    ),
    "subject list": ("sealyard subject list", "sealyard subject list --removed"),
    "subject disable": ("sealyard subject disable USER:anna --reason 'on leave until June'",),
    "subject enable": ("sealyard subject enable USER:anna --reason 'back from leave'",),
    "subject remove": ("sealyard subject remove USER:anna --reason 'left the company' --yes",),
    "group add-member": ("sealyard group add-member GROUP:approvers USER:anna",),
    "group remove-member": ("sealyard group remove-member GROUP:approvers USER:anna --yes",),
    "acl add": (
        "sealyard acl add USER:anna DEVICE_CONFIG:gateway APPROVE",
        "sealyard acl add GROUP:auditors RESOURCE_TYPE:AUDIT_LOG VIEW",
    ),
    "acl remove": ("sealyard acl remove vdxvgpaxev --yes",),
    "policy set": (
        "sealyard policy set --approval packaging,signing --approval-timeout 7d",
        "sealyard policy set --require-otp on",
    ),
    "token create": (
        "sealyard token create laptop --expires 30d",
        "sealyard token create ci --subject CLIENT:ci --machine --expires 365d",
    ),
    "otp enroll": ("sealyard otp enroll", "sealyard otp enroll --otp 123456"),
    "device create": (
        "sealyard device create gateway --encryption AES256_CBC_PKCS7_PAD --signing ECC_NIST_P256"
        " --use USER:dev --approve USER:owner",
        "sealyard device create lock --encryption AES256_CBC_PKCS7_PAD --signing ED25519"
        " --use CLIENT:ci --approve GROUP:approvers --approvals 2 --link-ttl 24h --retention 30d",
        "sealyard device create door --encryption AES256_CBC_PKCS7_PAD --signing ECC_NIST_P256"
        " --signing-key local:corporate",
        "sealyard device create vault --encryption AES256_CBC_PKCS7_PAD --signing ED25519"
        " --signing-provider corp --wrap-with vault:transit/device-keys",
    ),
    "device update": (
        "sealyard device update gateway --approvals 2",
        "sealyard device update gateway --link-ttl 48h --retention 90d",
    ),
    "device show": ("sealyard device show gateway", "sealyard device show gateway --version 1"),
    "device certificates": ("sealyard device certificates gateway > gateway.pem",),
    "device export-key": ("sealyard device export-key gateway --out gateway.key --yes",),
    "key import": (
        "sealyard key import local:corporate --file corporate.pem --kind EC_P256",
        "sealyard key import local:corporate --file corporate.p12 --kind EC_P256 --password-file password.txt",
        "sealyard key import local:gateway-aes --file gateway.key --kind AES_256",
        "sealyard key import local:gateway-aes --file gateway.key --kind AES_256 --wrap-with vault:transit/device-keys",
    ),
    "key list": ("sealyard key list", "sealyard key list --provider corp"),
    "key register": (
        "sealyard key register vault:transit/gateway-sign",
        "sealyard key register 'pkcs11:token=seal;object=gateway-sign' --purpose package --certificate chain.pem",
    ),
    "key generate": (
        "sealyard key generate vault:transit/gateway-sign --kind ED25519",
        "sealyard key generate local:gateway-aes --kind AES_256 --wrap-with vault:transit/device-keys",
    ),
    "key csr": ("sealyard key csr local:gateway-sign > gateway.csr",),
    "key certificate": ("sealyard key certificate local:gateway-sign --chain chain.pem",),
    "package": (
        "sealyard package --device gateway --firmware boot.bin app.bin --metadata release.json",
        "sealyard package --device gateway --firmware app.bin --dry-run",
        "sealyard package --device gateway --firmware app.bin --wait --timeout 24h --out downloads --json",
    ),
    "encrypt": (
        "sealyard encrypt --device gateway app.bin --out downloads",
        "sealyard encrypt --device gateway app.bin --encryption-key legacy --no-wait",
    ),
    "sign": (
        "sealyard sign --device gateway --file message.txt",
        'sealyard sign --device rsa --digest-base64 "$(openssl dgst -sha256 -binary app.bin | base64)"',
    ),
    "tasks": (
        "sealyard tasks --awaiting-approval",
        "sealyard tasks --mine --status DONE --limit 20",
        "sealyard tasks --device gateway --search 1.4.2 --json",
    ),
    "resubmit": (
        "sealyard resubmit vdxv",
        "sealyard resubmit vdxv --file build/app.bin --justification 'bootloader corrected' --wait",
    ),
    "approve": (
        "sealyard approve vdxv --reason 'tested on bench 3'",
        "sealyard approve vdxv --digest 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "sealyard approve vdxv --otp 123456 --no-wait",
    ),
    "reject": ("sealyard reject vdxv --reason 'wrong bootloader version'",),
    "withdraw": ("sealyard withdraw vdxv --reason 'replaced by 1.4.3'",),
    "wait": ("sealyard wait vdxv", "sealyard wait vdxv --timeout 30m --out downloads"),
    "download": ("sealyard download vdxv --out downloads", "sealyard download --all"),
    "watch": (
        "sealyard watch drop --device gateway",
        "sealyard watch /mnt/builds --device gateway --submit --settle 30 --polling",
    ),
    "verify": ("sealyard verify app.se-1 --certificate gateway.pem --strict",),
    "extract": (
        "sealyard extract app.se-1 --certificate gateway.pem --key gateway.key --out extracted",
        "sealyard extract app.se-1 --certificate gateway.pem --key gateway.key --out extracted --split-metadata",
    ),
    "audit list": (
        "sealyard audit list --author USER:anna --since 2030-12-01",
        "sealyard audit list --resource TASK:vdxvgpaxev --json",
    ),
    "audit show": (
        "sealyard audit show 12",
        "sealyard audit show 12 --database service=sealyard-audit",
    ),
    "audit verify": (
        "sealyard audit verify",
        "sealyard audit verify --database service=sealyard-audit",
        "sealyard audit verify --checkpoint stored-elsewhere.txt",
        "sealyard audit verify --proof entry.tlog-proof --key audit-key.pem",
    ),
    "audit prove": (
        "sealyard audit prove 12 --out entry.tlog-proof",
        "sealyard audit prove --from 500 --out extension.txt",
        "sealyard audit prove --from 500 --to 750",
    ),
    "audit key": ("sealyard audit key --out audit-key.pem",),
    "audit export": (
        "sealyard audit export --format jsonl --out audit.jsonl",
        "sealyard audit export --format csv > audit.csv",
    ),
    "webhook add": (
        "sealyard webhook add https://hooks.example.org/sealyard",
        "sealyard webhook add https://hooks.example.org/sealyard --event task.done --event task.failed",
    ),
    "notification add": (
        "sealyard notification add anna@example.org",
        "sealyard notification add otto@example.org --user USER:otto --event waiting --event escalation",
        "sealyard notification add - --device gateway < channel-url.txt",
    ),
    "notification settings": (
        "sealyard notification settings",
        "sealyard notification settings --mail-host mail.example.org --mail-from sealyard@example.org --mail-user seal",
        "sealyard notification settings --escalate-at 80 --show-names yes",
    ),
    "bus upgrade": (
        "sealyard bus upgrade service=sealyard-bus-owner --zone plant --engine-role sealyard_server"
        " --agent-role sealyard_crypto",
    ),
    "bus check": ("sealyard bus check service=sealyard-bus",),
    "bus show-sql": ("sealyard bus show-sql --zone plant --engine-role sealyard_server --agent-role sealyard_crypto",),
    "worker invite": ("sealyard worker invite --workspace /srv/yard -o enrollment.json",),
    "worker enroll": (
        "sealyard worker enroll /srv/plant --enrollment enrollment.json --bus service=sealyard-bus",
        "sealyard worker enroll /srv/plant --enrollment enrollment.json --bus service=sealyard-bus --keys copy/keys",
    ),
    "worker admit": ("sealyard worker admit zone1-…", "sealyard worker admit zone1-… --yes"),
    "worker drain": ("sealyard worker drain crypto-1",),
    "worker run": (
        "sealyard worker run /srv/crypto",
        "sealyard worker run /srv/crypto --workers 4 --shutdown-timeout 10m",
    ),
    "completion": (
        "sealyard completion bash > ~/.local/share/bash-completion/completions/sealyard",
        "sealyard completion zsh > ~/.zfunc/_sealyard",
        "sealyard completion fish > ~/.config/fish/completions/sealyard.fish",
    ),
    "help": ("sealyard help exit-codes",),
}
"""Examples by command; those of the application belong to the empty name."""


def format_examples(command: str) -> str:
    """Return the examples of a command for its help, or an empty string if it has none."""
    examples = EXAMPLES.get(command, ())
    return "\n".join(("examples:", *(f"  {example}" for example in examples))) if examples else ""
