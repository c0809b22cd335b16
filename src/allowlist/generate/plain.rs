use super::Group;
use crate::allowlist::policy::What;

/// `host:port/transport` lines below their rules.
pub(super) fn write(groups: &[Group<'_>], remarks: &mut [String]) -> String {
    let mut text = String::new();
    for remark in remarks.iter() {
        text += &format!("# {remark}\n");
    }
    for group in groups {
        text += &format!("\n# {}\n", group.comment());
        let service = |host: &str| match host.contains(':') {
            true => format!("[{host}]:{}/{}\n", group.ports.text(), group.transport),
            false => format!("{host}:{}/{}\n", group.ports.text(), group.transport),
        };
        for need in &group.needs {
            match &need.what {
                Ok(What::Nets(nets)) => {
                    nets.prefixes().iter().for_each(|net| text += &service(&net.to_string()));
                }
                Ok(What::Any) => text += &service("*"),
                _ => text += &service(need.text),
            }
        }
    }
    text.trim_start().to_owned()
}
