/** Arguments and options that verbs share, as `help` says them. */
export const scopeArgument = ['<scope>', 'path inside the mount, or id'] as const;
export const SCOPES = 'paths inside the mount, or ids';
export const slotArgument = ['<slot>', 'number or label'] as const;

/** Of verbs that open a scope, or try to. */
export const withOption = ['--with <src>', 'where the secret comes from'] as const;
/** Of verbs that change what is in an unlocked scope. */
export const withUnlockOption = ['--with <src>', 'a secret that unlocks it, where it is locked'] as const;
export interface With {
  with?: string;
}
