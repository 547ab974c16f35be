//! Keys that say where targets come from.

use super::{Field, HTTP, Section, TEXTS, TLS, Type, acts, idle};

/// A list of sections of one kind.
const fn kind(name: &'static str, section: &'static Type) -> Field {
    idle(name, Type::List(section))
}

/// All kinds, those that are built in first.
pub(super) const DISCOVERY: &[Field] = &[
    acts("static_configs", Type::List(&Type::Section(&STATIC))),
    acts("file_sd_configs", Type::List(&Type::Section(&FILE))),
    acts("http_sd_configs", Type::List(&Type::Section(&HTTP_SD))),
    kind("aws_sd_configs", &Type::Section(&AWS)),
    kind("azure_sd_configs", &Type::Section(&AZURE)),
    kind("consul_sd_configs", &Type::Section(&CONSUL)),
    kind("digitalocean_sd_configs", &Type::Section(&DIGITALOCEAN)),
    kind("dns_sd_configs", &Type::Section(&DNS)),
    kind("docker_sd_configs", &Type::Section(&DOCKER)),
    kind("dockerswarm_sd_configs", &Type::Section(&DOCKERSWARM)),
    kind("ec2_sd_configs", &Type::Section(&AWS)),
    kind("ecs_sd_configs", &Type::Section(&AWS)),
    kind("elasticache_sd_configs", &Type::Section(&AWS)),
    kind("eureka_sd_configs", &Type::Section(&EUREKA)),
    kind("gce_sd_configs", &Type::Section(&GCE)),
    kind("hetzner_sd_configs", &Type::Section(&HETZNER)),
    kind("ionos_sd_configs", &Type::Section(&IONOS)),
    kind("kubernetes_sd_configs", &Type::Section(&KUBERNETES)),
    kind("kuma_sd_configs", &Type::Section(&KUMA)),
    kind("lightsail_sd_configs", &Type::Section(&AWS)),
    kind("linode_sd_configs", &Type::Section(&LINODE)),
    kind("marathon_sd_configs", &Type::Section(&MARATHON)),
    kind("mq_sd_configs", &Type::Section(&AWS)),
    kind("msk_sd_configs", &Type::Section(&AWS)),
    kind("nerve_sd_configs", &Type::Section(&ZOOKEEPER)),
    kind("nomad_sd_configs", &Type::Section(&NOMAD)),
    kind("oci_sd_configs", &Type::Section(&OCI)),
    kind("openstack_sd_configs", &Type::Section(&OPENSTACK)),
    kind("outscale_sd_configs", &Type::Section(&OUTSCALE)),
    kind("ovhcloud_sd_configs", &Type::Section(&OVHCLOUD)),
    kind("puppetdb_sd_configs", &Type::Section(&PUPPETDB)),
    kind("rds_sd_configs", &Type::Section(&AWS)),
    kind("scaleway_sd_configs", &Type::Section(&SCALEWAY)),
    kind("serverset_sd_configs", &Type::Section(&ZOOKEEPER)),
    kind("stackit_sd_configs", &Type::Section(&STACKIT)),
    kind("triton_sd_configs", &Type::Section(&TRITON)),
    kind("uyuni_sd_configs", &Type::Section(&UYUNI)),
    kind("vultr_sd_configs", &Type::Section(&VULTR)),
];

/// What nearly all kinds have.
const POLL: &[Field] = &[idle("refresh_interval", Type::Duration), idle("port", Type::Int)];

const FILTERS: Type = Type::List(&Type::Section(&Section(&[&[idle("name", Type::Text), idle("values", TEXTS)]])));

const STATIC: Section = Section(&[&[acts("targets", TEXTS), acts("labels", Type::Map(&Type::Text))]]);

const FILE: Section = Section(&[&[acts("files", TEXTS), acts("refresh_interval", Type::Duration)]]);

const HTTP_SD: Section = Section(&[HTTP, &[acts("url", Type::Url), acts("refresh_interval", Type::Duration)]]);

/// All services of AWS, and the common front to them.
const AWS: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("role", Type::Text),
        idle("region", Type::Text),
        idle("endpoint", Type::Text),
        idle("access_key", Type::Text),
        idle("secret_key", Type::Secret),
        idle("profile", Type::Text),
        idle("role_arn", Type::Text),
        idle("external_id", Type::Text),
        idle("filters", FILTERS),
        idle("clusters", TEXTS),
        idle("request_concurrency", Type::Int),
    ],
]);

const AZURE: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("environment", Type::Text),
        idle("authentication_method", Type::Text),
        idle("subscription_id", Type::Text),
        idle("tenant_id", Type::Text),
        idle("client_id", Type::Text),
        idle("client_secret", Type::Secret),
        idle("resource_group", Type::Text),
    ],
]);

const CONSUL: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("server", Type::Text),
        idle("path_prefix", Type::Text),
        idle("token", Type::Secret),
        idle("datacenter", Type::Text),
        idle("namespace", Type::Text),
        idle("partition", Type::Text),
        idle("scheme", Type::Text),
        idle("username", Type::Text),
        idle("password", Type::Secret),
        idle("services", TEXTS),
        idle("tags", TEXTS),
        idle("node_meta", Type::Map(&Type::Text)),
        idle("filter", Type::Text),
        idle("health_filter", Type::Text),
        idle("tag_separator", Type::Text),
        idle("allow_stale", Type::Bool),
    ],
]);

const DIGITALOCEAN: Section = Section(&[HTTP, POLL]);

const DNS: Section = Section(&[POLL, &[idle("names", TEXTS), idle("type", Type::Text)]]);

const DOCKER: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("host", Type::Text),
        idle("host_networking_host", Type::Text),
        idle("match_first_network", Type::Bool),
        idle("filters", FILTERS),
    ],
]);

const DOCKERSWARM: Section =
    Section(&[HTTP, POLL, &[idle("host", Type::Text), idle("role", Type::Text), idle("filters", FILTERS)]]);

const EUREKA: Section = Section(&[HTTP, POLL, &[idle("server", Type::Url)]]);

const GCE: Section = Section(&[
    POLL,
    &[
        idle("project", Type::Text),
        idle("zone", Type::Text),
        idle("filter", Type::Text),
        idle("tag_separator", Type::Text),
    ],
]);

const HETZNER: Section = Section(&[HTTP, POLL, &[idle("role", Type::Text), idle("label_selector", Type::Text)]]);

const IONOS: Section = Section(&[HTTP, POLL, &[idle("datacenter_id", Type::Text)]]);

const KUBERNETES: Section = Section(&[
    HTTP,
    &[
        idle("api_server", Type::Url),
        idle("role", Type::Text),
        idle("kubeconfig_file", Type::Text),
        idle("namespaces", Type::Section(&Section(&[&[idle("own_namespace", Type::Bool), idle("names", TEXTS)]]))),
        idle(
            "selectors",
            Type::List(&Type::Section(&Section(&[&[
                idle("role", Type::Text),
                idle("label", Type::Text),
                idle("field", Type::Text),
            ]]))),
        ),
        idle("attach_metadata", Type::Section(&Section(&[&[idle("node", Type::Bool), idle("namespace", Type::Bool)]]))),
    ],
]);

const KUMA: Section = Section(&[
    HTTP,
    POLL,
    &[idle("server", Type::Url), idle("client_id", Type::Text), idle("fetch_timeout", Type::Duration)],
]);

const LINODE: Section = Section(&[HTTP, POLL, &[idle("region", Type::Text), idle("tag_separator", Type::Text)]]);

const MARATHON: Section = Section(&[
    HTTP,
    POLL,
    &[idle("servers", TEXTS), idle("auth_token", Type::Secret), idle("auth_token_file", Type::Text)],
]);

/// Nerve and serversets.
const ZOOKEEPER: Section = Section(&[&[idle("servers", TEXTS), idle("paths", TEXTS), idle("timeout", Type::Duration)]]);

const NOMAD: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("allow_stale", Type::Bool),
        idle("namespace", Type::Text),
        idle("region", Type::Text),
        idle("server", Type::Text),
        idle("tag_separator", Type::Text),
    ],
]);

const OCI: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("user", Type::Text),
        idle("fingerprint", Type::Text),
        idle("key_file", Type::Text),
        idle("pass_phrase", Type::Secret),
        idle("tenancy", Type::Text),
        idle("region", Type::Text),
        idle("compartment", Type::Text),
    ],
]);

const OPENSTACK: Section = Section(&[
    POLL,
    &[
        idle("role", Type::Text),
        idle("region", Type::Text),
        idle("identity_endpoint", Type::Text),
        idle("username", Type::Text),
        idle("userid", Type::Text),
        idle("password", Type::Secret),
        idle("domain_name", Type::Text),
        idle("domain_id", Type::Text),
        idle("project_name", Type::Text),
        idle("project_id", Type::Text),
        idle("application_credential_name", Type::Text),
        idle("application_credential_id", Type::Text),
        idle("application_credential_secret", Type::Secret),
        idle("all_tenants", Type::Bool),
        idle("availability", Type::Text),
        idle("tls_config", Type::Section(&TLS)),
    ],
]);

const OUTSCALE: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("endpoint", Type::Text),
        idle("region", Type::Text),
        idle("access_key", Type::Text),
        idle("secret_key", Type::Secret),
    ],
]);

const OVHCLOUD: Section = Section(&[
    POLL,
    &[
        idle("endpoint", Type::Text),
        idle("application_key", Type::Text),
        idle("application_secret", Type::Secret),
        idle("consumer_key", Type::Secret),
        idle("service", Type::Text),
    ],
]);

const PUPPETDB: Section = Section(&[
    HTTP,
    POLL,
    &[idle("url", Type::Url), idle("query", Type::Text), idle("include_parameters", Type::Bool)],
]);

const SCALEWAY: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("access_key", Type::Text),
        idle("secret_key", Type::Secret),
        idle("secret_key_file", Type::Text),
        idle("project_id", Type::Text),
        idle("role", Type::Text),
        idle("api_url", Type::Text),
        idle("zone", Type::Text),
        idle("name_filter", Type::Text),
        idle("tags_filter", TEXTS),
    ],
]);

const STACKIT: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("project", Type::Text),
        idle("role", Type::Text),
        idle("region", Type::Text),
        idle("endpoint", Type::Text),
        idle("service_account_key", Type::Secret),
        idle("service_account_key_path", Type::Text),
        idle("private_key", Type::Secret),
        idle("private_key_path", Type::Text),
        idle("credentials_file_path", Type::Text),
    ],
]);

const TRITON: Section = Section(&[
    POLL,
    &[
        idle("account", Type::Text),
        idle("role", Type::Text),
        idle("dns_suffix", Type::Text),
        idle("endpoint", Type::Text),
        idle("groups", TEXTS),
        idle("version", Type::Int),
        idle("tls_config", Type::Section(&TLS)),
    ],
]);

const UYUNI: Section = Section(&[
    HTTP,
    POLL,
    &[
        idle("server", Type::Url),
        idle("username", Type::Text),
        idle("password", Type::Secret),
        idle("entitlement", Type::Text),
        idle("separator", Type::Text),
    ],
]);

const VULTR: Section = Section(&[HTTP, POLL]);
