//! `--cap 'chat:*=subscribe,publish'` into the claim `cap`.

use std::collections::BTreeMap;

const OPERATIONS: [&str; 5] = ["subscribe", "publish", "history", "presence", "*"];

/// The claim: pattern → operations. A pattern given twice gets the operations of both.
pub(super) fn claim(texts: &[String]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut claim: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in texts {
        // The last one: a pattern may hold '=' itself.
        let Some((pattern, operations)) = text.rsplit_once('=') else {
            anyhow::bail!("--cap {text:?}: not PATTERN=OPERATIONS, e.g. 'chat:*=subscribe,publish'");
        };
        let exact = pattern.strip_suffix('*').unwrap_or(pattern);
        if exact.contains('*') || pattern.is_empty() {
            anyhow::bail!(
                "--cap {text:?}: a pattern is a channel name, or the beginning of one followed by *"
            );
        }
        let entry = claim.entry(pattern.to_owned()).or_default();
        for operation in operations.split(',').map(str::trim) {
            if !OPERATIONS.contains(&operation) {
                anyhow::bail!("--cap {text:?}: {operation:?} is none of {}", OPERATIONS.join(", "));
            }
            if !entry.iter().any(|known| known == operation) {
                entry.push(operation.to_owned());
            }
        }
    }
    Ok(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_operations_are_read() {
        let claim =
            claim(&["chat:*=subscribe, publish".into(), "a=b=*".into(), "chat:*=publish,history".into()])
                .unwrap();
        assert_eq!(claim["chat:*"], ["subscribe", "publish", "history"]);
        assert_eq!(claim["a=b"], ["*"]);
    }

    #[test]
    fn slips_are_named() {
        for wrong in ["chat:*", "=subscribe", "chat:*:x=publish", "chat=read"] {
            let error = claim(&[wrong.into()]).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
